export interface Row {
  id: number;
  name: string;
  version: string;
  created: string;
}

export type Key = keyof Row;

/** Rows in the order of a column; the given array stays as it is. */
export function sorted(rows: Row[], key: Key): Row[] {
  if (key === "version") {
    return [...rows].sort((a, b) => (a.version < b.version ? -1 : 1));
  }
  return [...rows].sort((a, b) => String(a[key]).localeCompare(String(b[key])));
}

/** The names that appear more than once. */
export function duplicates(rows: Row[]): string[] {
  return rows
    .filter((row, at) => rows.findIndex((other) => other.name === row.name) !== at)
    .map((row) => row.name);
}

/** One page of rows; pages count from 1. */
export function page(rows: Row[], number: number, size: number): Row[] {
  const start = number * size;
  return rows.slice(start, start + size);
}

export function month(row: Row): string {
  const date = new Date(row.created);
  return `${date.getFullYear()}-${date.getMonth()}`;
}
