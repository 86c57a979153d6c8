// A chosen folder: browsers leave the path out of what they send, so it goes along in hidden fields, in the same order.
document.addEventListener("change", ({ target }) => {
  if (!(target instanceof HTMLInputElement) || target.type !== "file") return
  const name = `${target.name}_paths`
  target.form.querySelectorAll(`input[name="${CSS.escape(name)}"]`).forEach((old) => old.remove())
  for (const file of target.files) {
    const path = Object.assign(document.createElement("input"), { type: "hidden", name })
    path.value = file.webkitRelativePath || file.name
    target.parentElement.append(path)
  }
})

// "Choose a folder" turns the same control from files to a folder and back.
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-folder-for]")
  if (!button) return
  const input = document.getElementById(button.dataset.folderFor)
  input.webkitdirectory = true
  input.click()
  input.addEventListener("cancel", () => { input.webkitdirectory = false }, { once: true })
  input.addEventListener("change", () => { input.webkitdirectory = false }, { once: true })
})
