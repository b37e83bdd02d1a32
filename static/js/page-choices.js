/** Which steps a person has opened and closed: for one run, kept over reloads (without a key: only for now). */
const KEPT = 200; // choices; of a huge run the oldest are forgotten

export class Choices {
  constructor(key) {
    this.key = key;
    this.all = undefined; // "expand all" or "collapse all", until single steps differ from it
    this.single = new Map();
    if (!key) return;
    try {
      const kept = JSON.parse(localStorage.getItem(key) ?? "{}");
      this.all = typeof kept.all === "boolean" ? kept.all : undefined;
      this.single = new Map(kept.single ?? []);
    } catch {
      localStorage.removeItem(key); // written by an older version, or by hand
    }
  }

  /** true, false, or undefined where nothing was chosen. */
  get(id) {
    return this.single.get(id) ?? this.all;
  }

  get any() {
    return this.all !== undefined || this.single.size > 0;
  }

  set(id, open) {
    this.single.delete(id);
    this.single.set(id, open);
    while (this.single.size > KEPT) this.single.delete(this.single.keys().next().value);
    this.save();
  }

  setAll(open) {
    this.all = open;
    this.single.clear();
    this.save();
  }

  forEach(visit) {
    for (const [id, open] of this.single) visit(id, open);
  }

  save() {
    if (!this.key) return;
    try {
      localStorage.setItem(this.key, JSON.stringify({ all: this.all, single: [...this.single] }));
    } catch (error) {
      console.warn("Opened steps cannot be kept:", error); // the storage is full or forbidden
    }
  }
}
