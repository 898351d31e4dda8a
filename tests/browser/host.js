// A minimal anywidget host: one model, one websocket to the Python process, any number of views.
const subscribers = new Map();
const state = {};
let dirty = {};

const names = (events) => events.split(" ");

function emit(event, ...values) {
  for (const callback of [...(subscribers.get(event) ?? [])]) callback(...values);
}

/** One frame: length of the header, header as JSON, then the buffers. */
function frame(header, buffers = []) {
  const sizes = buffers.map((buffer) => buffer.byteLength);
  const head = new TextEncoder().encode(JSON.stringify({ ...header, sizes }));
  const out = new Uint8Array(4 + head.length + sizes.reduce((sum, size) => sum + size, 0));
  new DataView(out.buffer).setUint32(0, head.length);
  out.set(head, 4);
  let at = 4 + head.length;
  for (const buffer of buffers) {
    out.set(new Uint8Array(buffer.buffer ?? buffer), at);
    at += buffer.byteLength;
  }
  return out;
}

function unframe(data) {
  const length = new DataView(data).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  let at = 4 + length;
  const buffers = header.sizes.map((size) => {
    const view = new DataView(data, at, size);
    at += size;
    return view;
  });
  return [header, buffers];
}

function place(target, path, value) {
  for (const key of path.slice(0, -1)) target = target[key];
  target[path.at(-1)] = value;
}

function makeModel(socket) {
  return {
    get: (key) => state[key],
    set(key, value) {
      if (state[key] === value) return;
      state[key] = dirty[key] = value;
      emit(`change:${key}`);
    },
    save_changes() {
      if (Object.keys(dirty).length > 0) socket.send(frame({ method: "update", state: dirty }));
      dirty = {};
    },
    on(events, callback) {
      for (const event of names(events)) {
        if (!subscribers.has(event)) subscribers.set(event, new Set());
        subscribers.get(event).add(callback);
      }
    },
    off(events, callback) {
      for (const event of names(events)) subscribers.get(event)?.delete(callback);
    },
  };
}

export async function connect(url) {
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  await new Promise((resolve, reject) => {
    socket.onerror = reject;
    socket.onmessage = ({ data }) => {
      const [header, buffers] = unframe(data);
      (header.buffer_paths ?? []).forEach((path, i) => place(header.state, path, buffers[i]));
      Object.assign(state, header.state);
      for (const key of Object.keys(header.state ?? {})) if (header.method === "update") emit(`change:${key}`);
      if (header.method === "replayed") resolve();
    };
  });
  return makeModel(socket);
}

/** Shows the model in `el` with its own bundle; the returned controller ends the view. */
export async function show(model, el) {
  const source = new Blob([model.get("_esm")], { type: "text/javascript" });
  const { default: factory } = await import(URL.createObjectURL(source));
  const widget = await factory();
  if (!document.getElementById("css")) {
    const style = Object.assign(document.createElement("style"), { id: "css", textContent: model.get("_css") });
    document.head.append(style);
  }
  const life = new AbortController();
  await widget.initialize?.({ model, signal: life.signal });
  await widget.render({ model, el, signal: life.signal });
  return life;
}

export const listeners = () => [...subscribers.values()].reduce((sum, set) => sum + set.size, 0);
