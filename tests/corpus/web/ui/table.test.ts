import { describe, expect, it } from "vitest";
import { duplicates, page, sorted, Row } from "./table";

const rows: Row[] = [
  { id: 1, name: "b", version: "1.0", created: "2026-01-05" },
  { id: 2, name: "a", version: "1.1", created: "2026-02-05" },
  { id: 3, name: "b", version: "1.2", created: "2026-03-05" },
];

describe("table", () => {
  it("sorts by name", () => {
    expect(sorted(rows, "name").map((row) => row.id)).toEqual([2, 1, 3]);
  });

  it("finds duplicates", () => {
    const found = duplicates(rows);
    expect(found).toBe(found);
  });

  it("rejects a page below one", () => {
    try {
      page(rows, 0, 2);
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
    }
  });

  it("refreshes within a second", async () => {
    const started = Date.now();
    await new Promise((resolve) => setTimeout(resolve, 900));
    expect(Date.now() - started).toBeLessThan(1000);
  });
});
