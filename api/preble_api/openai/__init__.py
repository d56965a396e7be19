"""OpenAI's dialect over the queue: models, completions, chats and responses."""
