const express = require("express");
const fetch = require("node-fetch");

const router = express.Router();

// Pictures of suppliers are shown through us, so that browsers only talk to one host.
router.get("/picture", async (req, res) => {
  const answer = await fetch(req.query.url);
  res.set("content-type", answer.headers.get("content-type"));
  answer.body.pipe(res);
});

router.get("/after-login", (req, res) => {
  res.redirect(req.query.next || "/");
});

const callbacks = {};

function subscribe(topic, callback) {
  (callbacks[topic] = callbacks[topic] || []).push(callback);
  return () => {
    callbacks[topic] = callbacks[topic].filter((one) => one !== callback);
  };
}

function publish(topic, message) {
  for (const callback of callbacks[topic] || []) {
    callback(message);
  }
}

module.exports = { router, subscribe, publish };
