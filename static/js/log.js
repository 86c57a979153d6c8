// The log viewer: <section data-log="stream id">. Lines come over their own socket with sequence numbers. The page says
// which it has, so a broken connection leaves no gap and repeats nothing. The newest 5,000 are kept; lines are added in
// batches, once a frame. Screen readers are not read to while following (aria-live is off).

const KEPT = 5000
const RANK = { info: 0, warn: 1, error: 2 }
const WORD = { info: "info", warn: "WARN", error: "ERROR" }
const COLOURS = { server: "k1", build: "k2", storage: "k3", router: "k4" }

class LogViewer {
  constructor(panel) {
    this.panel = panel
    this.list = panel.querySelector("[role=log]")
    this.search = panel.querySelector("[data-log-search]")
    this.level = panel.querySelector("[data-log-level]")
    this.followButton = panel.querySelector("[data-log-follow]")
    this.tally = panel.querySelector("[data-log-tally]")
    this.last = 0
    this.queue = []
    this.closed = false
    this.failures = 0
    this.proof = (panel.dataset.proof || "").trim().split("\n").at(-1).trim()
    this.search?.addEventListener("input", () => this.filter())
    this.level?.addEventListener("change", () => this.filter())
    this.followButton?.addEventListener("click", () => this.follow(!this.following))
    this.list.addEventListener("scroll", () => this.scrolled())
    this.follow(true)
    this.connect()
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws"
    this.socket = new WebSocket(`${scheme}://${location.host}/logs/${this.panel.dataset.log}`)
    this.socket.addEventListener("open", () => this.socket.send(JSON.stringify({ after: this.last })))
    this.socket.addEventListener("message", ({ data }) => this.receive(JSON.parse(data)))
    this.socket.addEventListener("close", ({ code }) => {
      if (this.closed || code === 4401 || code === 4404 || !this.panel.isConnected) return
      this.failures += 1
      this.tell("Reconnecting")
      setTimeout(() => this.connect(), Math.min(10000, 250 * 2 ** this.failures) * (0.75 + Math.random() / 2))
    })
  }

  receive({ lines, closed }) {
    this.failures = 0
    const fresh = lines.filter(([seq]) => seq > this.last)
    if (fresh.length) this.last = fresh.at(-1)[0]
    this.queue.push(...fresh)
    this.closed = closed
    if (closed) this.socket.close()
    // A hidden tab gets no frames: what waits is cut to what would be shown.
    if (this.queue.length > KEPT) this.queue.splice(0, this.queue.length - KEPT)
    this.frame ??= requestAnimationFrame(() => this.draw())
  }

  draw() {
    this.frame = null
    const batch = document.createDocumentFragment()
    for (const line of this.queue) batch.append(this.row(line))
    this.queue = []
    this.list.append(batch)
    while (this.list.childElementCount > KEPT) this.list.firstElementChild.remove()
    this.list.classList.toggle("long", this.list.childElementCount > 500)
    this.markProof()
    this.tell()
    if (this.following) this.toEnd()
    if (this.closed) this.rest()
  }

  // Nothing more will come: show what matters and stop following.
  rest() {
    this.follow(false)
    const proof = this.list.querySelector("#proof")
    if (proof) this.list.scrollTop = proof.offsetTop - this.list.offsetTop - this.list.clientHeight / 2
  }

  row([seq, time, source, level, text]) {
    const row = document.createElement("li")
    row.dataset.seq = seq
    row.dataset.l = level
    row.append(
      part("time", "", clock(time)),
      part("span", `src ${COLOURS[source] ?? "kt"}`, source),
      part("span", "lv", WORD[level] ?? level),
      part("span", "tx", text),
    )
    row.firstChild.dateTime = time
    this.fit(row)
    return row
  }

  fit(row) {
    const text = row.querySelector(".tx")
    const plain = text.textContent
    const word = this.search?.value.trim().toLowerCase() ?? ""
    const at = word ? plain.toLowerCase().indexOf(word) : -1
    row.hidden = (word && at < 0) || RANK[row.dataset.l] < Number(this.level?.value ?? 0)
    if (at < 0) text.textContent = plain
    else text.replaceChildren(plain.slice(0, at), part("mark", "", plain.slice(at, at + word.length)), plain.slice(at + word.length))
  }

  filter() {
    for (const row of this.list.children) this.fit(row)
    this.tell()
    if (this.following) this.toEnd()
  }

  markProof() {
    if (!this.proof || this.list.querySelector("#proof")) return
    const row = [...this.list.children].findLast((each) => each.lastChild.textContent.includes(this.proof))
    if (!row) return
    row.id = "proof"
    row.classList.add("proof")
    row.append(part("span", "why", "This line proves it."))
  }

  tell(word = "") {
    const count = { all: 0, error: 0, warn: 0, info: 0 }
    for (const row of this.list.children) {
      if (row.hidden) continue
      count.all += 1
      count[row.dataset.l] += 1
    }
    const noun = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`
    const parts = [noun(count.all, "line")]
    if (count.error) parts.push(noun(count.error, "error"))
    if (count.warn) parts.push(noun(count.warn, "warning"))
    this.tally.textContent = word ? `${parts.join(", ")} · ${word}` : parts.join(", ") + (this.closed ? " · ended" : "")
  }

  follow(on) {
    this.following = on
    if (this.followButton) {
      this.followButton.ariaPressed = String(on)
      this.followButton.querySelector("span").textContent = on ? "Following" : "Follow"
    }
    if (on) this.toEnd()
  }

  toEnd() {
    this.drawn = this.list.scrollTop = this.list.scrollHeight
  }

  scrolled() {
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 24
    if (!this.closed && this.following !== atEnd && (atEnd || this.list.scrollTop < this.drawn - this.list.clientHeight - 24)) this.follow(atEnd)
  }
}

// In the viewer's own zone, as everywhere on the page.
function clock(time) {
  const at = new Date(time)
  const [hours, minutes, seconds] = [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, "0"))
  return `${hours}:${minutes}:${seconds}.${String(at.getMilliseconds()).padStart(3, "0")}`
}

function part(tag, name, text) {
  const element = document.createElement(tag)
  if (name) element.className = name
  element.textContent = text
  return element
}

function openLogs() {
  for (const panel of document.querySelectorAll("[data-log]")) panel.viewer ??= new LogViewer(panel)
}
addEventListener("htmx:afterSettle", openLogs)
openLogs()
