/** A cart that never changes in place; money in cents. */
export function add(cart, sku, quantity) {
  if (!Number.isInteger(quantity) || quantity < 1) {
    throw new RangeError("quantity must be a positive whole number");
  }
  const before = cart.get(sku) ?? 0;
  return new Map(cart).set(sku, before + quantity);
}

export function remove(cart, sku) {
  const next = new Map(cart);
  next.delete(sku);
  return next;
}

export function total(cart, prices) {
  let cents = 0;
  for (const [sku, quantity] of cart) {
    const price = prices.get(sku);
    if (price === undefined) {
      throw new Error(`no price for ${sku}`);
    }
    cents += price * quantity;
  }
  return cents;
}
