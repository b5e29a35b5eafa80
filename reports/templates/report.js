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
  const exhibits = document.getElementById("exhibits"), beyond = document.getElementById("beyond");
  const form = document.getElementById("filters"), more = document.getElementById("more");
  const counted = document.getElementById("counted"), step = 24;
  const over = document.getElementById("over"), slider = over.querySelector("input");
  const [under, upper] = over.querySelectorAll("img");
  let room = step;
  const element = (tag, kind, text) => {
    const made = document.createElement(tag);
    made.className = kind;
    made.textContent = text;
    return made;
  };
  const cut = () => { upper.style.clipPath = `inset(0 0 0 ${100 - slider.value}%)`; };
  slider.addEventListener("input", cut);
  const comparable = (row) => {
    if (row.querySelectorAll("img").length < 2) return row;
    const open = element("button", "compare", "Compare"), prompt = row.querySelector(".prompt");
    const text = prompt.textContent;
    open.type = "button";
    open.addEventListener("click", () => {
      const pictures = row.querySelectorAll("img");
      if (pictures.length < 2) return;
      document.getElementById("over-text").textContent = text;
      [under.src, under.alt] = [pictures[0].src, pictures[0].alt];
      [upper.src, upper.alt] = [pictures[1].src, pictures[1].alt];
      cut();
      over.showModal();
    });
    prompt.append(" ", open);
    return row;
  };
  const figure = (prompt, [system, file, verified, note]) => {
    const made = element("figure", "", ""), caption = element("figcaption", "", system);
    const none = element("div", "none", note || "not beside this page");
    if (verified !== null) {
      const words = verified ? "✓ as asked" : "✕ not as asked";
      caption.append(element("span", verified ? "yes" : "no", words));
    }
    made.append(none, caption);
    if (file) {
      const image = element("img", "", "");
      [image.loading, image.alt, image.src] = ["lazy", `${system}: ${prompt}`, file];
      image.addEventListener("error", () => { image.replaceWith(none); });
      none.replaceWith(image);
    }
    return made;
  };
  const drawn = ([category, shown, prompt, pictures]) => {
    const row = element("div", "exhibit", ""), line = element("div", "row", "");
    const words = element("p", "prompt", `${prompt} `);
    words.dir = "auto";
    words.append(element("span", "soft small", category));
    line.style.setProperty("--n", Math.max(pictures.length, 2));
    line.append(...pictures.map((picture) => figure(prompt, picture)));
    [row.dataset.category, row.dataset.shown] = [category, shown];
    row.append(words, line);
    return comparable(row);
  };
  const all = [...exhibits.children].map((row) => ({
    text: row.querySelector(".prompt").textContent.toLowerCase(),
    row: comparable(row), category: row.dataset.category, shown: row.dataset.shown,
  })).concat(JSON.parse(beyond ? beyond.textContent : "[]").map((told) => ({
    told, category: told[0], shown: told[1], text: `${told[2]} ${told[0]}`.toLowerCase(),
  })));
  if (!all.length) return;
  form.hidden = false;
  const draw = () => {
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const category = form.category.value, shown = new RegExp(`^${form.shown.value}`);
    const found = all.filter((one) => (!category || one.category === category)
      && shown.test(one.shown) && words.every((word) => one.text.includes(word)));
    all.forEach(({ row }) => { if (row) row.hidden = true; });
    found.slice(0, room).forEach((one) => {
      one.row ??= drawn(one.told);
      one.row.hidden = false;
      if (one.told) exhibits.append(one.row);  // behind those that the page holds, in their order
    });
    counted.textContent = `${Math.min(room, found.length)} of ${found.length}`;
    more.hidden = found.length <= room;
  };
  form.addEventListener("input", () => { room = step; draw(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { room += step; draw(); });
  draw();
})();
