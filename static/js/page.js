// What every page can do: theme, menus, dialogs, tabs, copying, toasts, times, running clocks.

const root = document.documentElement

function switchTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches
  root.dataset.theme = dark ? "light" : "dark"
  localStorage.setItem("theme", root.dataset.theme)
  root.dispatchEvent(new CustomEvent("themechange", { detail: root.dataset.theme }))
}

async function copyFrom(button) {
  const text = button.dataset.copy || button.parentElement.querySelector("code, textarea").textContent
  try {
    await navigator.clipboard.writeText(text)
    showToast("Copied")
  } catch {
    showToast("The browser did not let Slipway copy. Select the text and copy it by hand.", "warn")
  }
}

// A dialog is opened by a button with data-open; without scripts the same button submits the dialog's form.
addEventListener("click", (event) => {
  const at = (selector) => event.target.closest(selector)
  const opener = at("[data-open]")
  if (at("[data-theme-switch]")) switchTheme()
  if (opener) {
    event.preventDefault()
    opener.closest("details.menu")?.removeAttribute("open")
    document.getElementById(opener.dataset.open).showModal()
  }
  if (at("[data-copy]")) copyFrom(at("[data-copy]"))
  if (at("[data-close-toast]")) at(".toast").remove()
  const tab = at("[role=tab][aria-controls]")
  if (tab && tab.hash) {
    event.preventDefault()
    pickTab(tab)
    history.replaceState(null, "", tab.hash)
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false
})

// A form is sent once: a second click, while the answer to the first is on its way, would do everything twice.
let sent = new WeakSet()
const isPost = ({ target, submitter }) => (submitter?.getAttribute("formmethod") ?? target.getAttribute("method")) === "post"
addEventListener("submit", (event) => {
  if (isPost(event) && (sent.has(event.target) || event.target.matches(".htmx-request"))) {
    event.preventDefault()
    event.stopImmediatePropagation()
  }
}, true)
addEventListener("submit", (event) => {
  if (isPost(event) && !event.defaultPrevented) sent.add(event.target)
})
addEventListener("pageshow", () => (sent = new WeakSet()))

function pickTab(tab) {
  for (const each of tab.closest("[role=tablist]").querySelectorAll("[role=tab]")) {
    each.ariaSelected = String(each === tab)
    each.tabIndex = each === tab ? 0 : -1
    document.getElementById(each.getAttribute("aria-controls")).hidden = each !== tab
  }
  tab.dispatchEvent(new CustomEvent("tabpicked", { bubbles: true }))
}

function stepThrough(items, from, key) {
  const to = { ArrowDown: from + 1, ArrowRight: from + 1, ArrowUp: from - 1, ArrowLeft: from - 1, Home: 0, End: -1 }[key]
  return to === undefined ? null : items.at(to % items.length)
}

addEventListener("keydown", (event) => {
  const menu = event.target.closest("details.menu")
  if (menu) {
    const items = [...menu.querySelectorAll(":scope > ul :is(a, button)")]
    const next = stepThrough(items, items.indexOf(event.target), event.key)
    if (event.key === "Escape" && menu.open) {
      menu.open = false
      menu.querySelector("summary").focus()
      event.preventDefault()
    } else if (next && items.length && event.key !== "ArrowLeft" && event.key !== "ArrowRight") {
      menu.open = true
      next.focus()
      event.preventDefault()
    }
  }
  if (event.target.matches("[role=tab]") && event.key !== "ArrowUp" && event.key !== "ArrowDown") {
    const tabs = [...event.target.closest("[role=tablist]").querySelectorAll("[role=tab]")]
    const next = stepThrough(tabs, tabs.indexOf(event.target), event.key)
    if (next) {
      if (next.hash && next.hasAttribute("aria-controls")) pickTab(next)
      next.focus()
      event.preventDefault()
    }
  }
})

// Toasts: from the server (messages, HX-Trigger "toast") and from scripts.
function showToast(text, state = "ok") {
  const toast = document.createElement("p")
  toast.className = "toast"
  toast.dataset.s = state
  toast.innerHTML = `<svg class="st" data-s="${state}" width="16" height="16" aria-hidden="true"><use href="#i-${state}"/></svg><span></span><button class="btn quiet small icon" type="button" data-close-toast aria-label="Close"><svg width="16" height="16" aria-hidden="true"><use href="#i-x"/></svg></button>`
  toast.querySelector("span").textContent = text
  document.getElementById("toasts").append(toast)
  fade(toast)
}
// An error stays until it is closed.
function fade(toast) {
  if (toast.dataset.s !== "fail") setTimeout(() => toast.remove(), 7000)
}
addEventListener("toast", ({ detail }) => showToast(detail.text, detail.state))
addEventListener("htmx:sendError", () => showToast("The studio did not answer. Nothing was changed.", "fail"))
addEventListener("htmx:responseError", ({ detail }) => {
  if (!detail.xhr.getResponseHeader("HX-Trigger") && !detail.elt.matches("[data-region-url]"))
    showToast(`The studio answered ${detail.xhr.status}. Load the page again to see what is so.`, "fail")
})

// <span data-elapsed="seconds">: how long it has been, every second; by the studio's clock, not by the browser's.
const begun = new WeakMap()

function tellDuration(seconds) {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60]
  if (hours) return `${hours}\u202fh ${minutes}\u202fmin`
  return minutes ? `${minutes}\u202fmin ${Math.floor(seconds) % 60}\u202fs` : `${Math.floor(seconds)}\u202fs`
}

function tick() {
  for (const each of document.querySelectorAll("[data-elapsed]")) {
    if (!begun.has(each)) begun.set(each, performance.now() - Number(each.dataset.elapsed) * 1000)
    each.textContent = tellDuration((performance.now() - begun.get(each)) / 1000)
  }
}
setInterval(tick, 1000)

// <time data-form="clock|moment">: written in UTC by the studio, told in the viewer's own zone.
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ")
const two = (number) => String(number).padStart(2, "0")

function tellTimes() {
  for (const each of document.querySelectorAll("time[data-form]")) {
    const at = new Date(each.dateTime)
    const day = `${at.getDate()} ${MONTHS[at.getMonth()]} ${at.getFullYear()}`
    const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":")
    const today = at.toDateString() === new Date().toDateString()
    each.textContent = today ? clock : each.dataset.form === "moment" ? `${day}, ${clock.slice(0, 5)}` : day
  }
}
addEventListener("htmx:afterSwap", tellTimes)
tellTimes()

addEventListener("htmx:afterSettle", tick)
tick()

for (const toast of document.querySelectorAll(".toast")) fade(toast)
const named = location.hash && document.querySelector(`[role=tab][href="${CSS.escape(location.hash).replace("\\#", "#")}"]`)
if (named) pickTab(named)
document.querySelector("[data-error-summary]")?.focus()

// A row of tabs that does not fit is scrolled to the one that is open.
for (const tab of document.querySelectorAll("[role=tab][aria-selected=true]")) {
  const list = tab.closest("[role=tablist]")
  list.scrollLeft = tab.offsetLeft - list.offsetLeft - (list.clientWidth - tab.offsetWidth) / 2
}
