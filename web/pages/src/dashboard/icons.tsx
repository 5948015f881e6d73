/** The few icons of the dashboard. All are decoration. */

const PATHS = {
  close: 'M7 7l10 10M17 7L7 17',
  up: 'M12 18V7m0 0l-4 4m4-4l4 4',
  down: 'M12 6v11m0 0l-4-4m4 4l4-4',
  terminate: 'M5 7.5h14M10 7V4.5h4V7M7 7.5l.8 12h8.4l.8-12M10.3 11v5M13.7 11v5',
} as const

export function Icon({ name }: { readonly name: keyof typeof PATHS }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  )
}
