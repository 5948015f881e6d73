/** A dialogue before everything else: the browser keeps the focus in it and gives it back. */

import { type ReactNode, useLayoutEffect, useRef } from 'react'

interface ModalProps {
  readonly className: string
  readonly role?: 'alertdialog'
  /** Ids of elements. */
  readonly labelledBy: string
  readonly describedBy?: string
  /** It was closed with the Escape key, or with a click beside it. */
  readonly onClose: () => void
  readonly children: ReactNode
}

export function Modal({ className, role, labelledBy, describedBy, onClose, children }: ModalProps) {
  const dialog = useRef<HTMLDialogElement>(null)
  useLayoutEffect(() => {
    const element = dialog.current
    element?.showModal()
    return () => element?.close()
  }, [])
  return (
    <dialog
      ref={dialog}
      className={className}
      role={role}
      aria-labelledby={labelledBy}
      aria-describedby={describedBy}
      closedby="any"
      onClose={() => {
        if (!dialog.current?.open) onClose()
      }}
    >
      {children}
    </dialog>
  )
}
