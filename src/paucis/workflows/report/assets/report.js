"use strict";
(() => {
  const gallery = JSON.parse(document.getElementById("pictures").textContent);
  const at = (id) => document.getElementById(id);
  const viewer = at("viewer"), stage = at("stage"), slider = at("slice"), cases = at("case"), runs = at("run");
  const kinds = { image: "image/webp", reference: "image/png", mask: "image/png", doubt: "image/png" };
  const toggles = { mask: at("show-mask"), reference: at("show-reference"), doubt: at("show-doubt") };

  const run = () => (runs ? Number(runs.value) : 0);
  const shown = () => gallery.cases[Number(cases.value)];
  const layerOf = (kind) => (kind === "mask" || kind === "doubt" ? kind + run() : kind);

  function place() {
    const one = shown();
    const number = one.numbers[Number(slider.value)];
    return one.count > 1 ? `slice ${number} of ${one.count}` : "the only slice";
  }

  function draw() {
    const one = shown();
    for (const [kind, type] of Object.entries(kinds)) {
      const picture = at("layer-" + kind);
      const pictures = one.layers[layerOf(kind)];
      picture.hidden = !pictures || (kind in toggles && !toggles[kind].checked);
      if (pictures) {
        picture.src = `data:${type};base64,${pictures[Number(slider.value)]}`;
      } else {
        picture.removeAttribute("src");
      }
    }
    const there = Boolean(one.layers[layerOf("doubt")]);
    toggles.doubt.disabled = !there;
    at("without").hidden = there;
    at("place").textContent = place();
    slider.setAttribute("aria-valuetext", place());
    at("layer-image").alt = `${one.name}, ${place()}`;
  }

  function open() {
    const one = shown();
    slider.max = one.numbers.length - 1;
    slider.value = one.first;
    at("slices").hidden = one.numbers.length < 2;
    slider.disabled = one.numbers.length < 2;
    stage.style.aspectRatio = `${one.size[1]} / ${one.size[0]}`;
    tell();
    draw();
  }

  function tell() {
    const one = shown();
    const name = gallery.runs.length > 1 ? gallery.runs[run()] + ": " : "";
    at("words").textContent = `${name}${one.runs[run()]}`;
  }

  function step(by) {
    const count = gallery.cases.length;
    cases.value = (Number(cases.value) + by + count) % count;
    open();
  }

  const keys = {
    m: () => toggles.mask.click(),
    r: () => toggles.reference.click(),
    u: () => toggles.doubt.click(),
    n: () => step(1),
    p: () => step(-1),
  };

  cases.addEventListener("change", open);
  slider.addEventListener("input", draw);
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  if (runs) runs.addEventListener("change", () => { tell(); draw(); });
  for (const toggle of Object.values(toggles)) toggle.addEventListener("change", draw);
  viewer.addEventListener("keydown", (event) => {
    const act = keys[event.key.toLowerCase()];
    if (act && !event.ctrlKey && !event.metaKey && !event.altKey && event.target.tagName !== "SELECT") {
      event.preventDefault();
      act();
    }
  });
  open();
})();
