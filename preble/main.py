"""Where users of the original Preble find it.

    from preble.main import start_server, start_server_and_load_models

    python3 -m preble.main deploy_and_run --model_name=mistralai/Mistral-7B-v0.1 --devices=[0,1]

The command line is `preble`'s own.
"""

from preble.cli import main
from preble.front_door import start_server, start_server_and_load_models

__all__ = ["start_server", "start_server_and_load_models"]

if __name__ == "__main__":
    main()
