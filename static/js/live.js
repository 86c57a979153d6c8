// One socket per page. It says which topics changed; the elements with that topic in data-live fetch themselves again.
//
// An element is refreshed by at most one request at a time, and once more after it if something changed meanwhile. It
// waits while somebody types in it or has a menu or dialog of it open. After every (re)connection all are refreshed,
// because what happened before the subscription was not heard.

const status = document.querySelector("[data-live-status]")
const busy = new Set()
const again = new Set()
const waiting = new Set()
let socket = null
let failures = 0
let subscribed = ""

const elements = () => [...document.querySelectorAll("[data-live]")]
const topicsOf = (element) => element.dataset.live.split(" ").filter(Boolean)
const topics = () => [...new Set(elements().flatMap(topicsOf))].sort()

function say(word, state) {
  if (status.textContent !== word) status.textContent = word
  status.dataset.s = state
}

function inUse(element) {
  if (element.querySelector("dialog[open], details.menu[open]")) return true
  // A dialog gives the focus back to what opened it.
  for (const dialog of document.querySelectorAll("dialog[open]")) if (element.querySelector(`[data-open="${dialog.id}"]`)) return true
  return element.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")
}

// The keyboard's place survives the exchange of a region: the same link or button, by its number among them and its name.
const places = (element) => [...element.querySelectorAll("a, button, summary, [tabindex]")]
const nameOf = (place) => place.getAttribute("aria-label") ?? place.textContent.trim()
const left = new Map() // id of a region -> the place in it that had the focus when it was exchanged

async function exchange(element) {
  left.delete(element.id)
  await htmx.ajax("GET", element.dataset.regionUrl, { source: element, target: element, swap: "outerHTML" })
  const before = left.get(element.id)
  if (!before || document.activeElement !== document.body) return
  const after = places(document.getElementById(element.id) ?? document.body)[before.number]
  if (after && nameOf(after) === before.name) after.focus({ preventScroll: true })
}

async function refresh(id) {
  if (busy.has(id)) return again.add(id)
  busy.add(id)
  try {
    do {
      again.delete(id)
      const element = document.getElementById(id)
      if (!element) return
      if (inUse(element)) return waiting.add(id)
      await exchange(element)
    } while (again.has(id))
  } catch {
    // The socket's own reconnection refreshes everything once the studio answers again.
  } finally {
    busy.delete(id)
  }
}

// What came while the person began to use the region is fetched again when they are done.
addEventListener("htmx:beforeSwap", (event) => {
  const { target } = event.detail
  if (!target.dataset.regionUrl) return
  const number = places(target).indexOf(document.activeElement)
  if (number >= 0) left.set(target.id, { number, name: nameOf(document.activeElement) })
  if (!inUse(target)) return
  event.detail.shouldSwap = false
  waiting.add(target.id)
})

function tell(element, message) {
  const event = new CustomEvent("live", { detail: message, cancelable: true })
  if (element.dispatchEvent(event) && element.dataset.regionUrl) refresh(element.id)
}

function retryWaiting() {
  setTimeout(() => {
    for (const id of [...waiting]) { // a copy: refresh may put an id back
      waiting.delete(id)
      refresh(id)
    }
  }, 0)
}
for (const name of ["focusout", "close", "toggle"]) document.addEventListener(name, retryWaiting, true)

function subscribe() {
  const wanted = topics()
  if (socket?.readyState !== WebSocket.OPEN || wanted.join(" ") === subscribed) return
  subscribed = wanted.join(" ")
  socket.send(JSON.stringify({ subscribe: wanted }))
}

function receive({ data }) {
  const message = JSON.parse(data)
  if (message.type === "subscribed" && status.dataset.s !== "on") {
    failures = 0
    say("Live", "on")
    for (const element of elements()) tell(element, { topic: null })
  }
  if (message.type === "changed")
    for (const element of elements()) if (topicsOf(element).includes(message.topic)) tell(element, message)
}

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`)
  subscribed = null
  socket.addEventListener("open", subscribe)
  socket.addEventListener("message", receive)
  socket.addEventListener("close", ({ code }) => {
    if (code === 4401 || code === 4404) return location.reload() // signed out elsewhere, or put out of the workspace
    failures += 1
    say(navigator.onLine && failures < 6 ? "Reconnecting" : "Offline", "lost")
    setTimeout(connect, Math.min(10000, 250 * 2 ** failures) * (0.75 + Math.random() / 2))
  })
}

addEventListener("htmx:afterSettle", subscribe)
if (status) connect()
