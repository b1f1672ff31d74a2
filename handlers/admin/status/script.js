// Keeps the page as the server has rendered it up to date: asks /-/status.json every two seconds and puts what it says where the
// page's data-… attributes want it. The server fills the same attributes (status_page.c), so what a column shows is said in one place, the
// page itself. Everything is put in as text.
"use strict";

const EVERY_MS = 2000, SAY_EVERY_MS = 10000, SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

// --- words ---

const number = (x, digits) => x.toFixed(digits);
const short = (x) => x === 0 ? "0" : Math.abs(x) < 10 ? number(x, 2) : Math.abs(x) < 100 ? number(x, 1) : number(x, 0);
const clock = (time) => new Date(time * 1000).toISOString().slice(11, 19);

function lasting(seconds) {
	const s = Math.max(0, Math.floor(seconds));
	if (s < 60) return s + " s";
	if (s < 3600) return Math.floor(s / 60) + " min";
	if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
	return Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h";
}

function sentence(status) {
	const sources = status.sources, down = sources.filter((source) => !source.up);
	const parts = down.map((source) => source.name + (source.since ? " is down since " + lasting(status.now - source.since) : " is down"));
	if (status.off) parts.unshift("taken out by hand");
	for (const source of sources) if (source.breaker === "open") parts.push("the breaker of " + source.name + " is open");
	const poor = status.endpoints.filter((endpoint) => endpoint.incomplete_percent > 0).length;
	if (poor) parts.push(poor + (poor === 1 ? " endpoint answers" : " endpoints answer") + " incompletely");
	const why = parts.length ? parts.join("; ") + "." : "";
	switch (status.state) {
	case "serving": return "Serving. " + (["It has no sources.", "Its source is up."][sources.length] || "All " + sources.length + " sources up.");
	case "degraded": return "Degraded: " + (why || "see below.");
	case "draining": return "Draining: requests that run may end.";
	default: return "Not ready: " + (why || "see below.");
	}
}

// What a value is, by the word in data-as: a text, or nodes.
const show = {
	text: (v) => v === null || v === undefined ? "–" : String(v),
	whole: (v) => v === null ? "–" : number(v, 0),
	rate: (v) => v === null ? "–" : short(v),
	ms: (v) => v === null ? "–" : short(v),
	percent: (v) => v === null ? "–" : short(v),
	clock: (v) => v === null ? "–" : clock(v),
	since: (v, status) => v === null ? "–" : lasting(status.now - v),
	lasting: (v) => v === null ? "–" : v < 1000 ? number(v, 0) + " ms" : lasting(v / 1000),
	count: (v) => String(v.length),
	sentence: (v) => sentence(v),
	refused: (v) => v.reload_refused ? "A reload was refused at " + clock(v.reload_refused.time) + ": " + v.reload_refused.error : "",
	generation: (v, status) => v.generation + ", loaded " + lasting(status.now - v.loaded) + " ago",
	health: (v, status) => v.up ? "▲ up" + (v.since ? " " + lasting(status.now - v.since) : "")
		: [text("span", "▼ down" + (v.since ? " since " + lasting(status.now - v.since) : ""), "down"), v.error ? ": " + v.error : ""],
	server: (v) => [v.role, v.host].filter(Boolean).join(" ") || "–",
	pool: (v) => v === null ? "–" : [bar(v), v.busy + "/" + v.size + " busy, " + v.waiting + " wait"],
	id: (v) => v ? copier(v) : "–",
	steps: (v) => [waterfall(v), v.steps.map((step) => step.name + " " + short(step.ms)).join(", ")],
};

// --- pieces ---

function text(name, content, kind) {
	const element = document.createElement(name);
	element.textContent = content;
	if (kind) element.className = kind;
	return element;
}

function drawn(name, attributes, ...children) {
	const element = document.createElementNS(SVG, name);
	for (const key in attributes) element.setAttribute(key, attributes[key]);
	element.append(...children);
	return element;
}

const box = (kind, x, width) => drawn("rect", { class: kind, x: x, y: 0, width: Math.max(0, width), height: 12 });

function bar(pool) {
	const one = 80 / Math.max(1, pool.size, pool.busy + pool.idle);
	return drawn("svg", { width: 80, height: 12, "aria-hidden": "true" },
		box("free", 0, 80), box("busy", 0, pool.busy * one), box("idle", pool.busy * one, pool.idle * one));
}

function waterfall(request) {
	const svg = drawn("svg", { width: 120, height: 12, "aria-hidden": "true" });
	const one = 120 / Math.max(request.ms, 0.001);
	request.steps.forEach((step, i) => svg.append(drawn("rect", {
		class: "busy", x: step.start_ms * one, width: Math.max(1, step.ms * one),
		y: 12 * i / request.steps.length, height: 12 / request.steps.length })));
	return svg;
}

function copier(id) {
	const button = text("button", id.slice(0, 8) + "…");
	button.type = "button";
	button.title = id;
	button.setAttribute("aria-label", "Copy the request's id, " + id);
	button.addEventListener("click", async () => {
		// Browsers have a clipboard for pages from this machine and over HTTPS; for others the whole id stands there, marked.
		if (await navigator.clipboard?.writeText(id).then(() => true, () => false)) {
			button.textContent = "Copied";
		} else {
			button.textContent = id;
			getSelection().selectAllChildren(button);
		}
	});
	return button;
}

// --- charts ---

// A chart of series that share an axis; marks are the events of these 15 minutes.
function chart(place, status) {
	const history = status.history, unit = place.dataset.unit;
	const series = place.dataset.chart.split(" ").map((name) => history[name]);
	const all = series.flat().filter((v) => v !== null), count = series[0].length, top = Math.max(...all, 0) || 1;
	const svg = drawn("svg", { viewBox: "0 0 300 64", preserveAspectRatio: "none", role: "img" });
	const last = series.map((values) => values.findLast((v) => v !== null) ?? null);
	svg.setAttribute("aria-label", all.length
		? unit + ": last " + last.map(show.rate).join(", ") + "; least " + short(Math.min(...all)) + "; most " + short(Math.max(...all))
		: unit + ": nothing yet");
	svg.append(drawn("line", { x1: 0, y1: 63, x2: 300, y2: 63 }));
	const span = count * history.every, begin = history.until - span;
	for (const event of status.events) {
		if (event.time < begin) continue;
		const x = Math.min(299, 300 * (event.time - begin) / span);
		const title = document.createElementNS(SVG, "title");
		title.textContent = clock(event.time) + " " + event.kind + (event.text ? ": " + event.text : "");
		svg.append(drawn("line", { class: "event", x1: x, y1: 0, x2: x, y2: 64 }, title));
	}
	series.forEach((values, i) => {
		let d = "", pen = "M";
		values.forEach((v, at) => {
			if (v === null) { pen = "M"; return; }
			d += pen + (300 * (at + 0.5) / count).toFixed(1) + " " + (62 - 58 * v / top).toFixed(1);
			pen = "L";
		});
		svg.append(drawn("path", { class: "l" + i, d: d }));
	});
	const axis = document.createElement("p");
	axis.append(text("span", Math.round(span / 60) + " min ago"), text("span", "most " + (all.length ? short(Math.max(...all)) : "–")), text("span", "now"));
	place.replaceChildren(svg, axis);
}

// --- putting it in ---

function look(status, path) {
	if (path === ".") return status;
	let v = status;
	for (const name of path.split(".")) v = v?.[name];
	// Of a history the last value that there is.
	return path.startsWith("history.") ? (v?.findLast((one) => one !== null) ?? null) : v ?? null;
}

function put(cell, shown) {
	const nodes = Array.isArray(shown) ? shown : [shown];
	if (nodes.length === 1 && typeof nodes[0] === "string") {
		if (cell.textContent !== nodes[0]) cell.textContent = nodes[0];
	} else if (!cell.contains(document.activeElement)) {
		// Not while somebody is at the button in it.
		cell.replaceChildren(...nodes);
	}
}

function table(place, status) {
	const columns = [...place.tHead.rows[0].cells], body = place.tBodies[0];
	const all = status[place.dataset.rows], most = place.dataset.most && !place.dataset.all ? +place.dataset.most : Infinity;
	const rows = all.slice(0, most);
	if (!rows.length) {
		const cell = text("td", place.dataset.empty);
		cell.colSpan = columns.length;
		const row = document.createElement("tr");
		row.append(cell);
		body.replaceChildren(row);
	}
	rows.forEach((row, i) => {
		let line = body.rows[i];
		if (!line || line.cells.length !== columns.length) {
			const made = document.createElement("tr");
			for (const column of columns) {
				const cell = document.createElement("head" in column.dataset ? "th" : "td");
				if ("head" in column.dataset) cell.scope = "row";
				cell.className = [column.className, column.dataset.as === "health" ? "health" : ""].filter(Boolean).join(" ");
				made.append(cell);
			}
			if (line) line.replaceWith(made);
			else body.append(made);
			line = made;
		}
		columns.forEach((column, at) => put(line.cells[at], show[column.dataset.as || "text"](look(row, column.dataset.from), status)));
	});
	while (body.rows.length > Math.max(1, rows.length)) body.lastElementChild.remove();
	more(place, all.length);
}

// "Show all", below a table that has more rows than it shows.
function more(place, count) {
	const least = +place.dataset.most;
	let button = place.parentElement.nextElementSibling;
	if (!least || count <= least) {
		button?.remove();
		return;
	}
	if (!button) {
		button = text("button", "");
		button.type = "button";
		button.addEventListener("click", () => {
			if (place.dataset.all) delete place.dataset.all;
			else place.dataset.all = "1";
			table(place, newest);
		});
		place.parentElement.after(button);
	}
	put(button, place.dataset.all ? "Show " + least : "Show all " + count);
}

let newest, spoken = "", spokenAt = 0;

// For those who hear the page: at most every ten seconds, and only what is new.
function say(words) {
	const now = Date.now();
	if (words === spoken || now - spokenAt < SAY_EVERY_MS) return;
	spoken = words;
	spokenAt = now;
	$("said").textContent = words;
}

function update(status) {
	newest = status;
	$("band").className = status.state;
	for (const place of document.querySelectorAll("[data-value]"))
		put(place, show[place.dataset.as || "text"](look(status, place.dataset.value), status));
	document.title = "gatherd: " + status.state.replace("_", " ");
	for (const place of document.querySelectorAll("table[data-rows]")) table(place, status);
	for (const place of document.querySelectorAll("[data-chart]")) chart(place, status);
	say($("band").querySelector("h1").textContent);
}

async function ask() {
	try {
		const reply = await fetch("/-/status.json", { cache: "no-store", signal: AbortSignal.timeout(10000) });
		if (!reply.ok) throw new Error("status " + reply.status);
		update(await reply.json());
	} catch (error) {
		$("band").className = "silent";
		put($("band").querySelector("h1"), "No answer from gatherd" + (newest ? " since " + clock(newest.now) : "") + ".");
		say("No answer from gatherd.");
	}
	setTimeout(ask, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

ask();
