/** jsdom knows the element, but cannot open it: what browsers do, without the layer on top. */

HTMLDialogElement.prototype.showModal = function showModal() {
  this.open = true
  this.querySelector<HTMLElement>('button, input')?.focus()
  this.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && this.open) this.close()
  })
}

HTMLDialogElement.prototype.close = function close() {
  if (!this.open) return
  this.open = false
  queueMicrotask(() => this.dispatchEvent(new Event('close')))
}
