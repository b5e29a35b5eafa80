(() => {
  const look = document.getElementById("look");
  if (!look) return;
  const power = document.getElementById("power"), select = look.querySelector("select");
  const [, , , top] = power.getAttribute("viewBox").split(" ");
  look.hidden = false;
  select.addEventListener("change", () => {
    const [start, end] = select.value.split(" ").map(Number);
    power.setAttribute("viewBox", `${start} 0 ${end - start} ${top}`);
    document.getElementById("lasts").textContent = `${(end - start).toPrecision(3)} s`;
  });
})();
(() => {
  const all = [...document.querySelectorAll("#exhibits .exhibit")];
  const form = document.getElementById("filters"), more = document.getElementById("more");
  const counted = document.getElementById("counted"), step = 24;
  let room = step;
  if (!all.length) return;
  form.hidden = false;
  const fits = (one) => {
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = one.querySelector(".prompt").textContent.toLowerCase();
    const shown = new RegExp(`^${form.shown.value}`);
    return words.every((word) => text.includes(word))
      && (!form.category.value || one.dataset.category === form.category.value)
      && shown.test(one.dataset.shown);
  };
  const draw = () => {
    const found = all.filter(fits);
    all.forEach((one) => { one.hidden = true; });
    found.slice(0, room).forEach((one) => { one.hidden = false; });
    counted.textContent = `${Math.min(room, found.length)} of ${found.length}`;
    more.hidden = found.length <= room;
  };
  form.addEventListener("input", () => { room = step; draw(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { room += step; draw(); });
  const over = document.getElementById("over"), slider = over.querySelector("input");
  const [under, upper] = over.querySelectorAll("img");
  const cut = () => { upper.style.clipPath = `inset(0 0 0 ${100 - slider.value}%)`; };
  slider.addEventListener("input", cut);
  all.forEach((one) => {
    const pictures = one.querySelectorAll("img");
    if (pictures.length < 2) return;
    const open = document.createElement("button");
    open.type = "button";
    open.className = "compare";
    open.textContent = "Compare";
    open.addEventListener("click", () => {
      document.getElementById("over-text").textContent = one.querySelector(".prompt").textContent;
      [under.src, under.alt] = [pictures[0].src, pictures[0].alt];
      [upper.src, upper.alt] = [pictures[1].src, pictures[1].alt];
      cut();
      over.showModal();
    });
    one.querySelector(".prompt").append(" ", open);
  });
  draw();
})();
