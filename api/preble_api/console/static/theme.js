// Before anything is painted, so that a page does not flash in the other theme.
(() => {
  const kept = localStorage.getItem("preble-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
