// Runs the script of a page of `predict` with a canvas that only counts; argument: page.
const fs = require("fs");
const html = fs.readFileSync(process.argv[2], "utf8");
const data = html.split("id='data'>")[1].split("</script>")[0];
const script = html.split("<script>")[1].split("</script>")[0];
const calls = {};
const pen = new Proxy({}, {
  get: (kept, name) => name in kept ? kept[name] : (...words) => {
    calls[name] = (calls[name] || 0) + 1;
    for (const v of words)
      if (typeof v === "number" && !isFinite(v)) throw new Error(`NaN in ${String(name)}`);
  },
  set: (kept, name, value) => { kept[name] = value; return true; },
});
const on = {}, tip = {}, all = {}, root = {}, view = { devicePixelRatio: 1, addEventListener() {} };
const canvas = {
  clientWidth: 1000, clientHeight: 520, getContext: () => pen, setPointerCapture() {},
  addEventListener: (name, f) => { on[name] = f; }, getBoundingClientRect: () => ({ left: 0 }),
};
const parts = { data: { textContent: data }, p: canvas, tip, all, root };
new Function("document", "window", script)({ getElementById: (id) => parts[id] }, view);
const seen = [view.__view];
const press = (key) => on.keydown({ key, preventDefault() {} });
on.wheel({ preventDefault() {}, clientX: 400, deltaY: -1 }); seen.push(view.__view);
on.pointerdown({ clientX: 200, shiftKey: false, pointerId: 1 });
on.pointermove({ clientX: 500 }); on.pointerup({}); seen.push(view.__view);
press("ArrowRight"); seen.push(view.__view);
root.onclick(); press("0"); seen.push(view.__view);
console.log(JSON.stringify({ seen, tip: tip.textContent, lines: calls.lineTo }));
