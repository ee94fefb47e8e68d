// Files that are too large are turned away before they are sent, and a camera that cannot be had is told of, each with a
// message: gradio would stay silent.
() => {
  const limit = LIMIT, videoLimit = VIDEO_LIMIT, told = "TOLD";
  function tell(text) {
    document.querySelector("#turned-away")?.remove();
    const box = document.createElement("div");
    box.id = "turned-away";
    box.className = "message";
    box.setAttribute("role", "alert");
    box.textContent = text;
    (document.querySelector(".gradio-container") || document.body).append(box);
    setTimeout(() => box.remove(), 8000);
  }
  function check(event, files) {
    const large = [...(files || [])].find((file) => file.size > (file.type.startsWith("video/") ? videoLimit : limit));
    if (!large) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    if (event.type === "change") event.target.value = "";
    tell(`${large.name} ${told}`);
  }
  document.addEventListener("change", (event) => {
    if (event.target.type === "file") check(event, event.target.files);
  }, true);
  document.addEventListener("drop", (event) => check(event, event.dataTransfer?.files), true);
  const media = navigator.mediaDevices, ask = media?.getUserMedia.bind(media);
  if (media) media.getUserMedia = (wanted) => ask(wanted).catch((error) => {
    tell("No picture comes from a camera: there is none, another program holds it, or it was not permitted.");
    throw error;
  });
  else document.addEventListener("click", (event) => {
    if (!event.target.closest("[title='grant webcam access']")) return;
    event.stopImmediatePropagation();
    tell("Browsers give cameras to pages of their own machine and to https alone: upload a file.");
  }, true);
}
