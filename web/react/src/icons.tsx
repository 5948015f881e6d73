/** The few icons; drawn here, so that nothing is loaded from anywhere. All are decoration. */

const PATHS = {
  upload: 'M12 16V4.5m0 0L7.25 9.25M12 4.5l4.75 4.75M4.5 19.5h15',
  file: 'M7 3.5h6.5L18 8v12.5H7zM13.5 3.5V8H18',
  pause: 'M9 6v12M15 6v12',
  resume: 'M8.5 5.8v12.4L18 12z',
  cancel: 'M7 7l10 10M17 7L7 17',
  retry: 'M18.5 12a6.5 6.5 0 1 1-2-4.7M18.5 4v3.8h-3.8',
  done: 'M5.5 12.5l4.3 4.3 8.7-9.3',
  failed: 'M12 5.5v8m0 4.4v.2',
} as const

/** Name of an icon. */
export type IconName = keyof typeof PATHS

export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg className="tus-icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  )
}
