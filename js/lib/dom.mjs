// Elements and panels. Nothing here knows a node of ours.

/** Load a stylesheet once. */
export function stylesheet(url) {
  if (document.querySelector(`link[href="${url}"]`)) return;
  document.head.append(element("link", { rel: "stylesheet", href: String(url) }));
}

/** An element with properties (class, text, aria-*, on*, data-*) and children; `null` children are left out. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

let panels = 0;

/**
 * A panel under a node's widgets, which is no part of the workflow. `height()` is what it needs, in CSS pixels.
 * Returns {root, resize}: fill `root`, then call `resize`. `removed` is called when the node goes.
 */
export function panel(node, name, label, { height, removed } = {}) {
  const root = element("div", { class: "scail2-panel", role: "region", "aria-label": label });
  // the canvas must not move or zoom by what is meant for the panel
  for (const event of ["pointerdown", "wheel", "keydown"]) root.addEventListener(event, (got) => got.stopPropagation());
  const needed = () => height?.() ?? root.scrollHeight;
  // a step of undo makes all nodes anew; with Nodes 2.0 a widget of the same name would go on showing the old element
  const widget = node.addDOMWidget(`${name}_${(panels += 1)}`, "scail2", root, {
    serialize: false, hideOnZoom: false, getMinHeight: needed, getMaxHeight: needed,
  });
  widget.serialize = false;
  if (removed) {
    const before = node.onRemoved;
    node.onRemoved = function (...given) {
      removed();
      return before?.apply(this, given);
    };
  }
  return { root, resize: () => grow(node) };
}

/** Call `hear(output)` with what each run of a node says, and with what the last one said if the page makes the node
 * anew, as it does to undo a step. */
export function onExecuted(app, node, hear) {
  const before = node.onExecuted;
  node.onExecuted = function (output, ...given) {
    const result = before?.call(this, output, ...given);
    hear(output);
    return result;
  };
  const configured = node.onConfigure;
  node.onConfigure = function (...given) {
    const result = configured?.apply(this, given);
    const inside = this.graph && this.graph !== this.graph.rootGraph;
    const output = app.nodeOutputs?.[inside ? `${this.graph.id}:${this.id}` : this.id];
    if (output) hear(output);
    return result;
  };
}

/** Call `hear` after each change of these widgets by the user -> a function that ends it. */
export function hearWidgets(node, names, hear) {
  const undo = names.map((name) => widgetOf(node, name)).filter(Boolean).map((widget) => {
    const before = widget.callback;
    const heard = function (...given) {
      const result = before?.apply(this, given);
      hear();
      return result;
    };
    widget.callback = heard;
    return () => {
      if (widget.callback === heard) widget.callback = before;
    };
  });
  return () => undo.forEach((end) => end());
}

/** Call `hear` after a hook of a node, such as onConfigure. */
export function after(node, hook, hear) {
  const before = node[hook];
  node[hook] = function (...given) {
    const result = before?.apply(this, given);
    hear();
    return result;
  };
}

/** A widget of a node by its input's name. */
export function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

/** Set a widget as if the user had: with its callback, and as one step of undo. */
export function setWidget(app, node, name, value) {
  const widget = widgetOf(node, name);
  if (!widget || widget.value === value) return;
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
  node.graph?.setDirtyCanvas?.(true, true);
  app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.captureCanvasState?.();
}

function grow(node) {
  if (window.LiteGraph.vueNodesMode) return; // the new renderer's nodes grow with what is in them
  const [width, height] = node.computeSize();
  node.setSize?.([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
  node.graph?.setDirtyCanvas?.(true, true);
}
