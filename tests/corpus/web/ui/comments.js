const list = document.querySelector("#comments");
const form = document.querySelector("#comment-form");

function show(comment) {
  const item = document.createElement("li");
  item.innerHTML = `<b>${comment.author}</b>: ${comment.text}`;
  list.append(item);
}

async function load(page) {
  const answer = await fetch(`/api/comments?page=${encodeURIComponent(page)}`);
  const comments = await answer.json();
  comments.forEach(show);
}

async function send(text) {
  try {
    await fetch("/api/comments", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ text }),
    });
  } catch (error) {}
  form.reset();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send(new FormData(form).get("text"));
});

const buttons = document.querySelectorAll(".page");
for (var index = 0; index < buttons.length; index++) {
  buttons[index].addEventListener("click", () => load(index + 1));
}

load(1);
