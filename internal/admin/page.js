
"use strict";
// The numbers are rendered by the server and taken over from a fresh copy of the page;
// only the plots are drawn here, from /history.
const step = 2000, longest = 600; // between two looks, in ms; what a plot shows at most, in s
const live = ["head", "health", "totals", "listeners", "problems", "facts"];
let points = [], started = "", heard = Date.now();
let cursor = null; // the time that the plots point at; null: the latest

const number = n => n >= 1e6 ? +(n / 1e6).toPrecision(3) + " M" : n >= 1e4 ? +(n / 1e3).toPrecision(3) + " k" : String(+n.toPrecision(4));
const rate = n => number(n >= 100 ? Math.round(n) : Math.round(n * 10) / 10);
const time = s => s == null ? "none" : s >= 1 ? +s.toPrecision(3) + " s" : s >= 1e-3 ? +(s * 1e3).toPrecision(3) + " ms" : +(s * 1e6).toPrecision(3) + " µs";
const others = p => Object.entries(p.outcomes).reduce((sum, [name, n]) => name === "greeted" ? sum : sum + n, 0);

const plots = [
	{title: "Visits a second", words: rate, lines: [
		{name: "greeted", of: p => p.outcomes.greeted / p.seconds},
		{name: "not greeted", of: p => others(p) / p.seconds}]},
	{title: "Time to greet", words: time, log: true, lines: [
		{name: "median", of: p => p.p50_seconds},
		{name: "99th percentile", of: p => p.p99_seconds}]},
	{title: "Connections", words: number, lines: [
		{name: "active", of: p => p.active},
		{name: "lingering", of: p => p.lingering}]},
];

function fill(e, attributes, children) {
	for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
	e.append(...children);
	return e;
}
const element = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const shape = (name, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

for (const plot of plots) {
	for (const line of plot.lines) line.value = element("output", {"aria-live": "off"});
	plot.svg = shape("svg", {role: "img", tabindex: 0});
	document.getElementById("plots").append(element("figure", {},
		element("figcaption", {}, element("b", {}, plot.title),
			...plot.lines.map((line, i) => element("span", {class: i ? "second" : "first"}, line.name + " ", line.value))),
		plot.svg));
	plot.svg.addEventListener("pointermove", e => pointAt(timeAt(plot, e.clientX - plot.svg.getBoundingClientRect().left)));
	plot.svg.addEventListener("pointerleave", () => pointAt(null));
	plot.svg.addEventListener("blur", () => pointAt(null));
	plot.svg.addEventListener("keydown", e => {
		const move = {ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -longest, End: longest}[e.key];
		if (e.key === "Escape") pointAt(null);
		if (!move || !points.length) return;
		e.preventDefault();
		const i = cursor == null ? points.length - 1 : points.indexOf(nearest(cursor));
		const at = points[Math.min(Math.max(i + move, 0), points.length - 1)];
		pointAt(at.time);
		document.getElementById("said").textContent = new Date(at.time * 1000).toLocaleTimeString() + ": " +
			plot.lines.map(line => `${line.name} ${plot.words(line.of(at))}`).join(", ");
	});
	new ResizeObserver(() => draw(plot)).observe(plot.svg);
}

// pointAt moves the cursor of all plots.
function pointAt(time) {
	cursor = time;
	plots.forEach(draw);
}

const nearest = time => points.reduce((best, p) => Math.abs(p.time - time) < Math.abs(best.time - time) ? p : best);

// span is what the plots show, in s: a minute, or a whole number of minutes since the start.
const span = () => points.length ? Math.min(longest, Math.max(60, Math.ceil((points.at(-1).time - points[0].time) / 60) * 60)) : 60;

const left = 48, margin = 6; // beside the plot, in px

function timeAt(plot, x) {
	if (!points.length) return null;
	const right = plot.svg.clientWidth - margin;
	return points.at(-1).time - (right - x) / (right - left) * span();
}

// scale returns the marks of the y axis, the lowest first, and where a value belongs:
// from 0 at the bottom to 1 at the top.
function scale(plot, values) {
	if (plot.log) {
		const from = Math.floor(Math.log10(Math.max(Math.min(...values, 1e-4), 1e-6)));
		const to = Math.max(Math.ceil(Math.log10(Math.max(...values, 1e-3))), from + 2);
		const marks = [];
		for (let i = from; i <= to; i++) marks.push(10 ** i);
		return {marks, at: v => (Math.log10(Math.max(v, 10 ** from)) - from) / (to - from)};
	}
	const most = Math.max(...values, 2), unit = 10 ** Math.floor(Math.log10(most));
	const top = [1, 2, 4, 6, 8, 10].map(n => n * unit).find(n => n >= most);
	return {marks: [0, top / 2, top], at: v => v / top};
}

function draw(plot) {
	const width = plot.svg.clientWidth, height = plot.svg.clientHeight;
	if (!width) return;
	const right = width - margin, top = 8, bottom = height - 20, shownSpan = span();
	const end = points.length ? points.at(-1).time : 0;
	const values = points.flatMap(p => plot.lines.map(line => line.of(p))).filter(v => v != null);
	const {marks, at} = scale(plot, values);
	const x = p => right - (end - p.time) / shownSpan * (right - left);
	const y = v => bottom - at(v) * (bottom - top);

	const parts = [];
	for (const mark of marks) {
		const level = y(mark).toFixed(1);
		parts.push(shape("line", {class: "grid", x1: left, x2: right, y1: level, y2: level}),
			shape("text", {x: left - 6, y: +level + 4, "text-anchor": "end"}, plot.words(mark)));
	}
	for (const [ago, word, anchor] of [[shownSpan, `${shownSpan / 60} min ago`, "start"], [shownSpan / 2, shownSpan % 120 ? `${shownSpan / 2} s` : `${shownSpan / 120} min`, "middle"], [0, "now", "end"]])
		parts.push(shape("text", {x: right - ago / shownSpan * (right - left), y: height - 4, "text-anchor": anchor}, word));

	plot.lines.forEach((line, i) => {
		// A point without a value is a gap; one between two gaps is a short dash.
		let path = "", pen = false, first = null, last = null;
		for (const p of points) {
			const v = line.of(p);
			if (v != null) {
				last = x(p).toFixed(1);
				first ??= last - 2;
				path += pen ? `L${last} ${y(v).toFixed(1)}` : `M${last - 2} ${y(v).toFixed(1)}h2`;
			}
			pen = v != null;
		}
		if (i === 0 && !plot.log && path) parts.push(shape("path", {class: "area", d: `${path}L${last} ${bottom}H${first}Z`}));
		parts.push(shape("path", {class: i ? "second" : "first", d: path}));
	});

	let shown = points.at(-1);
	if (cursor != null && shown) {
		shown = nearest(cursor);
		const here = x(shown).toFixed(1), ago = Math.round((end - shown.time));
		parts.push(shape("line", {class: "here", x1: here, x2: here, y1: top, y2: bottom}),
			shape("text", {x: here > (left + right) / 2 ? here - 6 : +here + 6, y: top + 6, "text-anchor": here > (left + right) / 2 ? "end" : "start"},
				(ago >= 60 ? `${Math.floor(ago / 60)} min ${ago % 60} s ago, ` : `${ago} s ago, `) + new Date(shown.time * 1000).toLocaleTimeString()));
	}
	for (const line of plot.lines) line.value.value = shown ? plot.words(line.of(shown)) : "";
	plot.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
	plot.svg.setAttribute("aria-label", `${plot.title} in the last ${shownSpan / 60} min, arrow keys move the cursor: ` + plot.lines.map(line => {
		const all = points.map(line.of).filter(v => v != null);
		return all.length ? `${line.name} at least ${plot.words(Math.min(...all))}, at most ${plot.words(Math.max(...all))}` : `${line.name} none`;
	}).join("; "));
	plot.svg.replaceChildren(...parts);
}

// merge makes an element like its fresh copy and touches only what differs, so that a
// selection, the focus and a screen reader stay where they are.
function merge(old, fresh) {
	if (old.isEqualNode(fresh)) return;
	if (old.nodeName !== fresh.nodeName || old.childNodes.length !== fresh.childNodes.length) {
		old.replaceWith(document.importNode(fresh, true));
		return;
	}
	if (old.nodeType !== Node.ELEMENT_NODE) {
		old.data = fresh.data;
		return;
	}
	for (const name of old.getAttributeNames()) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
	for (const name of fresh.getAttributeNames()) old.setAttribute(name, fresh.getAttribute(name));
	[...old.childNodes].forEach((child, i) => merge(child, fresh.childNodes[i]));
}

// localize writes times as the clock of the reader shows them.
function localize(tree) {
	for (const e of tree.querySelectorAll("time")) {
		e.title = e.dateTime;
		e.textContent = new Date(e.dateTime).toLocaleString();
	}
}

// get fetches a document or JSON, in a few seconds or not at all.
const get = (url, type) => new Promise((resolve, reject) => {
	const r = new XMLHttpRequest();
	r.open("GET", url);
	r.responseType = type;
	r.timeout = 5000;
	r.onload = () => r.status === 200 && r.response ? resolve(r.response) : reject();
	r.onerror = r.ontimeout = reject;
	r.send();
});

async function look() {
	const silence = document.getElementById("silence");
	try {
		let news = await get("/history?after=" + (points.at(-1)?.number ?? 0), "json");
		if (news.started !== started) { // another daemon: its points count anew
			points = [];
			if (started) news = await get("/history", "json");
			started = news.started;
		}
		points.push(...news.points.map(p => ({...p, time: Date.parse(p.at) / 1000})));
		points = points.filter(p => p.time > points.at(-1).time - longest);
		plots.forEach(draw);

		const fresh = await get("/", "document");
		localize(fresh);
		for (const id of live) merge(document.getElementById(id), fresh.getElementById(id));
		document.title = fresh.title;
		heard = Date.now();
		silence.hidden = true;
	} catch {
		silence.textContent = "greetd has not answered since " + new Date(heard).toLocaleTimeString() + ". What you see is from then; this page keeps trying.";
		silence.hidden = false;
	}
	// A page that nobody sees asks for nothing.
	if (document.hidden) document.addEventListener("visibilitychange", look, {once: true});
	else setTimeout(look, step);
}
localize(document);
look();
