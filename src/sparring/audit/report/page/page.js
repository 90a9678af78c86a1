"use strict";
(() => {
  // Printing shows what is folded away.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });

  // The command, copied as it is written; where the browser forbids it, marked for copying by hand.
  const command = document.getElementById("command"), copy = document.getElementById("copy");
  const said = document.getElementById("copied");
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    said.textContent = "";
    try {
      await navigator.clipboard.writeText(command.textContent);
      said.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(command);
      said.textContent = "Marked: press Ctrl+C or ⌘C";
    }
  });
})();
