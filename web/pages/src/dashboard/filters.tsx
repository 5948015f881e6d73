/** Which uploads the list is to show, and in which order. */

import { useId } from 'react'
import type { Order, Query, StateFilter } from './core/query.ts'
import { useWords } from './words.ts'

interface FiltersProps {
  readonly query: Query
  readonly hasOwners: boolean
  /** `pause`: milliseconds in which more may be typed. */
  readonly onQuery: (query: Query, pause: number) => void
}

const STATES: readonly StateFilter[] = ['all', 'active', 'ended']
const ORDERS: readonly Order[] = ['-created', 'created', 'name', '-name', '-size', 'size']
const TYPING = 250

export function Filters({ query, hasOwners, onQuery }: FiltersProps) {
  const { texts } = useWords()
  return (
    <search className="filters" aria-label={texts.filters}>
      <States query={query} onQuery={onQuery} />
      <TextFilter
        label={texts.name}
        value={query.name}
        onChange={(name) => onQuery({ ...query, name }, TYPING)}
      />
      {hasOwners && (
        <TextFilter
          label={texts.owner}
          hint={texts.ownerHint}
          value={query.owner}
          onChange={(owner) => onQuery({ ...query, owner }, TYPING)}
        />
      )}
      <Sorting query={query} onQuery={onQuery} />
    </search>
  )
}

type PartProps = Pick<FiltersProps, 'query' | 'onQuery'>

function States({ query, onQuery }: PartProps) {
  const name = useId()
  const { texts } = useWords()
  return (
    <fieldset className="segments">
      <legend className="hidden">{texts.state}</legend>
      {STATES.map((state) => (
        <label key={state}>
          <input
            type="radio"
            name={name}
            checked={query.state === state}
            onChange={() => onQuery({ ...query, state }, 0)}
          />
          <span>{texts.states[state]}</span>
        </label>
      ))}
    </fieldset>
  )
}

interface TextFilterProps {
  readonly label: string
  readonly hint?: string
  readonly value: string
  readonly onChange: (value: string) => void
}

function TextFilter({ label, hint, value, onChange }: TextFilterProps) {
  return (
    <input
      type="search"
      aria-label={label}
      aria-description={hint}
      placeholder={label}
      title={hint}
      autoComplete="off"
      spellCheck={false}
      value={value}
      onChange={(event) => onChange(event.target.value)}
    />
  )
}

/** For the phone, where the columns have no heads to sort by. */
function Sorting({ query, onQuery }: PartProps) {
  const { texts } = useWords()
  return (
    <select
      className="sorting"
      aria-label={texts.sort}
      value={query.order}
      onChange={(event) => onQuery({ ...query, order: event.target.value as Order }, 0)}
    >
      {ORDERS.map((order) => (
        <option key={order} value={order}>
          {texts.orders[order]}
        </option>
      ))}
    </select>
  )
}
