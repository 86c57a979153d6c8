// The charts of an endpoint: figures come as Plotly JSON without colours, the theme's styles are laid under them here.
//
// Whenever the metrics change the figures are asked for again, at most once a second and never more often than a point
// is long; one request at a time. What was drawn stays while the studio does not answer.

const holder = document.querySelector("[data-charts]")
const areas = Object.fromEntries([...holder.querySelectorAll("[data-chart]")].map((figure) => [figure.dataset.chart, figure]))
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value)
let themes = null
let latest = null
let asking = false
let askAgain = false
let askedAt = 0
let timer = null

function merge(under, over) {
  const merged = { ...under }
  for (const [key, value] of Object.entries(over)) merged[key] = isObject(value) && isObject(merged[key]) ? merge(merged[key], value) : value
  return merged
}

function isDark() {
  const chosen = document.documentElement.dataset.theme
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches
}

// Figures are timed in UTC; Plotly draws times as they are written, so they are written in the viewer's zone.
function inZone(text) {
  const at = new Date(`${text.replace(" ", "T")}Z`)
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, -1)
}

function moveToZone({ data, layout }) {
  for (const trace of data) {
    if (trace.x0) trace.x0 = inZone(trace.x0)
    if (Array.isArray(trace.x)) trace.x = trace.x.map(inZone)
  }
  layout.xaxis.range = layout.xaxis.range.map(inZone)
}

function drawOne(name, figure) {
  const theme = isDark() ? themes.dark : themes.light
  const area = areas[name].querySelector("[data-area]")
  const data = figure.data.map((trace) => merge(theme.traces[trace.meta.style] ?? {}, trace))
  Plotly.react(area, data, { ...figure.layout, template: theme.template }, themes.config)
}

function tellNow(figure, [before, number, after]) {
  const strong = Object.assign(document.createElement("b"), { textContent: number })
  figure.querySelector("[data-now]").replaceChildren(before, strong, after)
}

function draw() {
  if (!latest || !themes) return
  for (const [name, figure] of Object.entries(latest.figures)) {
    drawOne(name, figure)
    tellNow(areas[name], latest.now[name])
    areas[name].toggleAttribute("data-empty", latest.empty)
  }
  holder.dataset.drawn = String(Number(holder.dataset.drawn ?? 0) + 1)
}

const pause = () => Math.max(1000, Math.min(10000, (latest?.step ?? 1) * 1000))

// At most one request under way, one waiting.
function ask() {
  if (asking) return (askAgain = true)
  const wait = askedAt + pause() - Date.now()
  if (wait > 0) return (timer ??= setTimeout(() => { timer = null; ask() }, wait))
  fetchFigures()
}

async function fetchFigures() {
  asking = true
  askedAt = Date.now()
  try {
    const answer = await fetch(holder.dataset.charts, { headers: { accept: "application/json" } })
    if (!answer.ok) throw new Error(`${answer.status}`)
    latest = await answer.json()
    for (const figure of Object.values(latest.figures)) moveToZone(figure)
    draw()
  } catch (error) {
    for (const figure of Object.values(areas)) tellNow(figure, ["", "", "not reporting"])
  } finally {
    asking = false
    if (askAgain) {
      askAgain = false
      ask()
    }
  }
}

// A decision of the list, shown where it happened.
function pointAt(id) {
  const area = areas.replicas.querySelector("[data-area]")
  for (const [curveNumber, trace] of (area.data ?? []).entries()) {
    const pointNumber = (trace.ids ?? []).indexOf(id)
    if (pointNumber >= 0) return Plotly.Fx.hover(area, [{ curveNumber, pointNumber }])
  }
}

for (const name of ["click", "focusin"])
  document.addEventListener(name, ({ target }) => {
    const button = target.closest("[data-mark]")
    if (button) pointAt(button.dataset.mark)
  })

holder.addEventListener("live", ask)
document.documentElement.addEventListener("themechange", draw)
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw)

async function begin() {
  themes = await (await fetch(holder.dataset.themeUrl)).json()
  await fetchFigures()
}
begin()
