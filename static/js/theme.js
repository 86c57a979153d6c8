// Runs before the first paint: the theme chosen here before, or the system's.
const chosenTheme = localStorage.getItem("theme")
if (chosenTheme) document.documentElement.dataset.theme = chosenTheme
