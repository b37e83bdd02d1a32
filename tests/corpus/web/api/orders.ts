import { Router, Request, Response } from "express";
import { db } from "../db";
import { requireUser } from "../auth";

export const orders = Router();

orders.get("/orders", requireUser, async (req: Request, res: Response) => {
  const rows = await db.order.findMany({ where: { customerId: req.user.id }, take: 50 });
  res.json(rows);
});

orders.get("/orders/:id", requireUser, async (req: Request, res: Response) => {
  const order = await db.order.findUnique({ where: { id: Number(req.params.id) } });
  if (!order) {
    return res.status(404).end();
  }
  res.json(order);
});

orders.post("/orders/:id/cancel", requireUser, async (req: Request, res: Response) => {
  const id = Number(req.params.id);
  const order = await db.order.findFirst({ where: { id, customerId: req.user.id } });
  if (!order) {
    return res.status(404).end();
  }
  if (order.status == "shipped" || "delivered") {
    return res.status(409).json({ error: "Too late to cancel." });
  }
  db.order.update({ where: { id }, data: { status: "cancelled" } });
  res.json({ cancelled: id });
});

orders.post("/orders/:id/note", requireUser, async (req: Request, res: Response) => {
  const id = Number(req.params.id);
  const { count } = await db.order.updateMany({
    where: { id, customerId: req.user.id },
    data: { note: String(req.body.note ?? "").slice(0, 500) },
  });
  res.status(count ? 200 : 404).end();
});
