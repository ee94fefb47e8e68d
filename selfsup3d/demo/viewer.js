// A 3D skeleton on a plain canvas: dragged by the mouse or a finger, turned by the arrow keys, zoomed by the wheel.
// A motion plays, and stands still where the slider is put.
// Runs inside gr.HTML, which hands over `element`, `props` and `watch`. No library, no network, no WebGL.
const view = { azimuth: 0.5, elevation: 0.2, zoom: 1 };
const HOME = { ...view };
const canvas = () => element.querySelector("canvas");
let drag = null;
let read = { text: null, told: null };
const player = { frame: 0, playing: true, last: 0 };

function scene() {
  if (read.text !== props.value) {
    let told = null;
    try { told = props.value ? JSON.parse(props.value) : null; } catch { told = null; }
    read = { text: props.value, told };
    player.frame = 0;
    player.playing = true;
    const slider = element.querySelector(".time");
    if (slider) slider.max = told && told.motion ? told.motion.length - 1 : 0;
  }
  const told = read.told;
  if (!told || !told.motion) return told;
  return { ...told, joints: told.motion[Math.min(Math.floor(player.frame), told.motion.length - 1)] };
}

function projector(width, height) {
  const c = Math.cos(view.azimuth), s = Math.sin(view.azimuth);
  const ce = Math.cos(view.elevation), se = Math.sin(view.elevation);
  const distance = 4.5;                                           // metres from the eye to the pelvis
  const focal = Math.min(width, height) * 1.75 * view.zoom;
  return ([x, y, z]) => {                                         // right, away, up
    const right = c * x + s * y, away = -s * x + c * y;
    const depth = distance + ce * away - se * z, up = se * away + ce * z;
    const scale = focal / Math.max(depth, 0.3);
    return { x: width / 2 + scale * right, y: height * 0.5 - scale * up, depth, scale };
  };
}

function line(pen, a, b, colour, width) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  pen.moveTo(a.x, a.y);
  pen.lineTo(b.x, b.y);
  pen.stroke();
}

function drawGround(pen, project, floor) {
  const reach = 1;
  pen.fillStyle = "rgba(128, 134, 145, 0.10)";
  pen.beginPath();
  for (const corner of [[-reach, -reach], [reach, -reach], [reach, reach], [-reach, reach]]) {
    const p = project([...corner, floor]);
    pen.lineTo(p.x, p.y);
  }
  pen.fill();
  for (let at = -reach; at <= reach; at += 0.5) {
    line(pen, project([at, -reach, floor]), project([at, reach, floor]), "rgba(128, 134, 145, 0.45)", 1);
    line(pen, project([-reach, at, floor]), project([reach, at, floor]), "rgba(128, 134, 145, 0.45)", 1);
  }
}

function draw() {
  const paper = canvas();
  if (!paper || !paper.clientWidth) return;
  const ratio = window.devicePixelRatio || 1, width = paper.clientWidth, height = paper.clientHeight;
  paper.width = Math.round(width * ratio);
  paper.height = Math.round(height * ratio);
  const pen = paper.getContext("2d");
  pen.scale(ratio, ratio);
  pen.lineCap = "round";
  const told = scene();
  element.dataset.azimuth = view.azimuth.toFixed(3);
  element.dataset.joints = told ? told.joints.length : 0;
  if (!told) return;
  const project = projector(width, height);
  const floor = told.floor ?? Math.min(...told.joints.map((joint) => joint[2])) - 0.04;
  drawGround(pen, project, floor);
  for (const [a, b] of told.bones) {                              // the shadow of a lamp right above
    const [p, q] = [a, b].map((j) => project([told.joints[j][0], told.joints[j][1], floor]));
    line(pen, p, q, "rgba(90, 95, 105, 0.28)", 0.05 * p.scale);
  }
  const points = told.joints.map(project);
  const bones = told.bones.map(([a, b], n) => ({ p: points[a], q: points[b], colour: told.colours[n] }));
  bones.sort((one, other) => other.p.depth + other.q.depth - one.p.depth - one.q.depth);
  for (const { p, q, colour } of bones) {
    const thick = 0.025 * (p.scale + q.scale);
    line(pen, p, q, "rgba(20, 22, 28, 0.55)", thick + 2);         // an outline keeps crossing limbs apart
    line(pen, p, q, colour, thick);
    line(pen, p, q, "rgba(255, 255, 255, 0.28)", thick * 0.3);
  }
}

element.addEventListener("pointerdown", (event) => {
  if (event.target !== canvas()) return;
  drag = { x: event.clientX, y: event.clientY, azimuth: view.azimuth, elevation: view.elevation };
  canvas().setPointerCapture(event.pointerId);
});
element.addEventListener("pointermove", (event) => {
  if (!drag) return;
  view.azimuth = drag.azimuth - (event.clientX - drag.x) * 0.01;
  view.elevation = Math.min(1.5, Math.max(-0.4, drag.elevation + (event.clientY - drag.y) * 0.01));
  draw();
});
for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, () => { drag = null; });
element.addEventListener("wheel", (event) => {
  if (event.target !== canvas()) return;
  event.preventDefault();
  view.zoom = Math.min(3, Math.max(0.4, view.zoom * Math.exp(-event.deltaY * 0.001)));
  draw();
}, { passive: false });
element.addEventListener("dblclick", () => { Object.assign(view, HOME); draw(); });
element.addEventListener("keydown", (event) => {
  const turn = { ArrowLeft: [0.15, 0], ArrowRight: [-0.15, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
  if (!turn) return;
  event.preventDefault();
  view.azimuth += turn[0];
  view.elevation = Math.min(1.5, Math.max(-0.4, view.elevation + turn[1]));
  draw();
});

function tick(now) {
  if (!element.isConnected) return;
  const told = scene();
  if (told && told.motion && player.playing && element.offsetParent) {
    player.frame += Math.min((now - player.last) / 1000, 0.25) * told.fps;
    if (player.frame >= told.motion.length) player.frame = 0;
    show();
  }
  player.last = now;
  requestAnimationFrame(tick);
}

function show() {
  element.querySelector(".time").value = Math.floor(player.frame);
  element.querySelector(".play").textContent = player.playing ? "Pause" : "Play";
  element.dataset.frame = Math.floor(player.frame);
  draw();
}

element.addEventListener("click", (event) => {
  if (!event.target.classList.contains("play")) return;
  player.playing = !player.playing;
  show();
});
element.addEventListener("input", (event) => {
  if (!event.target.classList.contains("time")) return;
  player.playing = false;
  player.frame = Number(event.target.value);
  show();
});
new ResizeObserver(draw).observe(element);
watch("value", draw);
draw();
if (element.querySelector(".time")) requestAnimationFrame(tick);
