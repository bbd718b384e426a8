// The chat page of the simulated DingTalk: it talks to the simulated cloud only, and shows what the cloud's log says.
"use strict";

const PEOPLE = [["alice", "Alice"], ["bob", "Bob"], ["carol", "Carol"], ["xiaoming", "小明"]];
const GROUPS = [["cidProjectGroup+A/==", "项目组 · Project"], ["cidSupportGroup+B/==", "支持群 · Support"]];
const DIRECT = { kind: "direct", title: "机器人 · Robot" };
const COLOURS = ["#1677ff", "#00a870", "#ed7b2f", "#8e56dd", "#e34d59", "#029cd4"];

const at = (id) => document.getElementById(id);
const seen = { places: new Map(), states: new Map(), cards: new Map(), reactions: new Map() };
const items = [];
let place = DIRECT;
let quote = null;
let since = 0;
let followsEnd = true;
let unread = false;

function make(tag, options = {}, ...children) {
  const node = Object.assign(document.createElement(tag), options);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

async function call(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  const said = answer.status === 204 ? {} : await answer.json();
  if (!answer.ok) throw new Error(said.error || String(answer.status));
  return said;
}

// --- markdown: what DingTalk renders, built as nodes, so that nothing is ever HTML --------------------------------
const INLINE = /<br\s*\/?>|(!?)\[([^\]\n]*)\]\(([^)\s]+)\)|\*\*([^*\n]+)\*\*|\*([^*\n]+)\*|`([^`\n]+)`/g;

function safeLink(url) {
  try {
    const parsed = new URL(url, location.href);
    if (parsed.protocol === "dingtalk:") {
      const inner = parsed.searchParams.get("url");
      return inner ? safeLink(inner) : null;
    }
    return ["http:", "https:"].includes(parsed.protocol) ? parsed.href : null;
  } catch { return null; }
}

function link(label, url) {
  const href = safeLink(url);
  return href ? make("a", { href, target: "_blank", rel: "noopener noreferrer", textContent: label }) : document.createTextNode(label);
}

function inline(text, into) {
  let from = 0;
  for (const hit of text.matchAll(INLINE)) {
    into.append(text.slice(from, hit.index));
    from = hit.index + hit[0].length;
    const [whole, bang, label, url, bold, italic, code] = hit;
    if (whole.startsWith("<br")) into.append(make("br"));
    else if (url !== undefined && bang) {
      const src = safeLink(url);
      into.append(src ? make("img", { src, alt: label }) : label);
    } else if (url !== undefined) into.append(link(label, url));
    else if (bold !== undefined) into.append(make("strong", { textContent: bold }));
    else if (italic !== undefined) into.append(make("em", { textContent: italic }));
    else into.append(make("code", { textContent: code }));
  }
  into.append(text.slice(from));
  return into;
}

function markdown(text, into) {
  const lines = text.replace(/\r/g, "").split("\n");
  for (let i = 0; i < lines.length;) {
    const line = lines[i];
    const take = (fits) => { const taken = []; while (i < lines.length && fits(lines[i])) taken.push(lines[i++]); return taken; };
    if (/^\s*```/.test(line)) {
      i += 1;
      const code = take((l) => !/^\s*```/.test(l));
      i += 1;
      into.append(make("pre", { textContent: code.join("\n") }));
    } else if (/^#{1,6}\s/.test(line)) {
      const level = line.match(/^#+/)[0].length;
      into.append(inline(line.slice(level).trim(), make("h" + level)));
      i += 1;
    } else if (/^>\s?/.test(line)) {
      const inner = take((l) => /^>\s?/.test(l)).map((l) => l.replace(/^>\s?/, ""));
      into.append(markdown(inner.join("\n"), make("blockquote")));
    } else if (/^\s*[-*+]\s/.test(line) || /^\s*\d+\.\s/.test(line)) {
      const mark = /^\s*[-*+]\s/.test(line) ? /^\s*[-*+]\s/ : /^\s*\d+\.\s/;
      const list = make(mark.source.includes("\\d") ? "ol" : "ul");
      for (const item of take((l) => mark.test(l))) list.append(inline(item.replace(mark, ""), make("li")));
      into.append(list);
    } else if (line.trim() === "") i += 1;
    else {
      const plain = take((l) => l.trim() !== "" && !/^(\s*```|#{1,6}\s|>|\s*[-*+]\s|\s*\d+\.\s)/.test(l));
      if (plain.length === 0) plain.push(lines[i++]);
      const paragraph = make("p");
      // A single line break is a space, as in DingTalk, unless two spaces precede it.
      plain.forEach((l, n) => {
        inline(l.trimEnd(), paragraph);
        if (n < plain.length - 1) paragraph.append(l.endsWith("  ") ? make("br") : " ");
      });
      into.append(paragraph);
    }
  }
  return into;
}

// --- what a message looks like ---------------------------------------------------------------------------------
function buttons(pairs) {
  if (pairs.length === 0) return null;
  return make("div", { className: "buttons" }, ...pairs.map(([label, url]) => link(label, url)));
}

function parsed(text) { try { return JSON.parse(text); } catch { return {}; } }

function numbered(param, title, url) {
  const pairs = [];
  for (let n = 1; param[title + n]; n += 1) pairs.push([param[title + n], param[url + n] || ""]);
  return pairs;
}

function replyBubble(record) {
  const body = record.body;
  const key = body.msgKey || body.msgtype;
  const part = body.msgKey ? parsed(body.msgParam) : body[body.msgtype] || {};
  if (/[tT]ext$/.test(key)) return make("div", { className: "bubble text", textContent: part.content || "" });
  const bubble = make("div", { className: "bubble" });
  if (/ink$/.test(key)) {
    bubble.append(make("strong", {}, link(part.title || "", part.messageUrl || "")), make("p", { textContent: part.text || "" }));
  } else if (key === "feedCard") {
    for (const item of part.links || []) bubble.append(make("p", {}, link(item.title, item.messageURL || "")));
  } else {
    if (/ctionCard/.test(key) && part.title) bubble.append(make("h4", { textContent: part.title }));
    markdown(part.text || record.text || "", bubble);
  }
  const pairs = (part.btns || []).map((b) => [b.title, b.actionURL]);
  if (part.singleTitle) pairs.push([part.singleTitle, part.singleURL]);
  pairs.push(...numbered(part, "actionTitle", "actionURL"), ...numbered(part, "buttonTitle", "buttonUrl"));
  const row = buttons(pairs);
  if (row) bubble.append(row);
  return bubble;
}

function saidPart(part) {
  if (part.text !== undefined && !part.downloadCode) return document.createTextNode(part.text);
  const src = "/sim/files/" + encodeURIComponent(part.downloadCode || "");
  if (part.type === "picture" || part.pictureDownloadCode) return make("img", { src, alt: "图片 · picture" });
  return make("a", { href: src, download: part.fileName || "file", textContent: "📎 " + (part.fileName || part.recognition || "文件 · file") });
}

function saidBubble(record) {
  const { body } = record;
  const bubble = make("div", { className: "bubble text" });
  const replied = body.text && body.text.repliedMsg;
  if (replied) bubble.append(make("div", { className: "quoted", textContent: quotedText(replied) }));
  if (body.msgtype === "text") bubble.append((body.text.content || "").trimStart());
  else if (body.msgtype === "richText") bubble.append(...(body.content.richText || []).map(saidPart));
  else if (body.msgtype === "picture") bubble.append(saidPart({ ...body.content, type: "picture" }));
  else if (body.content && body.content.downloadCode) bubble.append(saidPart(body.content));
  else bubble.append("[" + body.msgtype + "]");
  return bubble;
}

function quotedText(replied) {
  const content = replied.content || {};
  return content.text || content.content || "[" + replied.msgType + "]";
}

function cardButtons(card) {
  for (const name of ["btns", "buttons", "msgButtons", "sys_full_json_obj"]) {
    const given = parsed(card.params[name] || "null");
    const list = given && (Array.isArray(given) ? given : given.msgButtons);
    if (Array.isArray(list)) return list.map(cardButton);
  }
  return [["确认 · Confirm", "confirm"], ["拒绝 · Reject", "reject"], ["结束 · End", "end"]]
    .map(([label, action]) => ({ label, action, params: { action }, off: false }));
}

// A button group's dynamic button, or a plainer one.
function cardButton(b) {
  const sent = (b.event && b.event.params) || {};
  const action = sent.actionId || b.id || b.action || b.text;
  return { label: b.text || b.title || b.id, action, params: sent.params || { action }, url: b.url, off: b.status === "disabled" };
}

function cardBubble(card) {
  const bubble = make("div", { className: "bubble" });
  const shown = ["title", "msgTitle", "content", "msgContent", "markdown", "text"];
  for (const name of shown) {
    const text = card.params[name];
    if (text) name.toLowerCase().endsWith("title") ? bubble.append(make("h4", { textContent: text })) : markdown(text, bubble);
  }
  const row = make("div", { className: "buttons" });
  for (const { label, action, params, url, off } of cardButtons(card)) {
    if (url) { row.append(link(label, url)); continue; }
    const press = make("button", { type: "button", textContent: label, disabled: off });
    press.onclick = async () => {
      for (const other of row.querySelectorAll("button")) other.disabled = true;
      try {
        await call("/sim/click", { outTrackId: card.outTrackId, user: at("person").value, actionIds: [action], params });
      } catch (error) { problem(error); }
      paint();
    };
    row.append(press);
  }
  bubble.append(row);
  if (card.params.result) bubble.append(make("div", { className: "result", textContent: card.params.result }));
  return bubble;
}

const STATES = {
  said: ["已发出 · sent", ""], pushed: ["投递中 · on its way", ""], acked: ["服务已确认 · acknowledged", "ok"],
  undelivered: ["机器人未连接，将重试 · nobody connected, will retry", "bad"], gaveUp: ["放弃 · given up", "bad"],
  ignored: ["未@机器人，不投递 · not delivered: no mention", ""],
};

function stateLine(item) {
  const { record } = item;
  const line = make("div", { className: "state" }, make("code", { textContent: record.msgId }));
  const known = item.kind === "said" ? seen.states.get(record.msgId) : null;
  if (known) {
    const [label, tone] = STATES[known.kind];
    line.append(" · ", make("span", { className: tone, textContent: label }));
    if (known.attempt > 1) line.append(" · ×" + known.attempt);
  }
  if (item.kind === "reply") line.append(" · " + record.detail);
  if (item.kind === "card") {
    const { streamState } = seen.cards.get(record.msgId) || {};
    line.append(" · 卡片 card" + (streamState === "processing" ? "" : " · " + streamState));
  }
  for (const name of seen.reactions.get(record.msgId) || []) line.append(" " + name);
  const back = make("button", { type: "button", textContent: "引用 · quote" });
  back.onclick = () => setQuote(item);
  line.append(back);
  return line;
}

function face(name, robot) {
  const sum = [...name].reduce((total, c) => total + c.charCodeAt(0), 0);
  const node = make("span", { className: "face", textContent: robot ? "🤖" : [...name][0] });
  node.style.background = robot ? "#4e5969" : COLOURS[sum % COLOURS.length];
  return node;
}

function article(item) {
  const { record } = item;
  const mine = item.kind === "said" && record.person === at("person").value;
  const name = item.kind === "said" ? record.body.senderNick || record.person : "机器人 · Robot";
  const time = new Date(record.atMs).toLocaleTimeString();
  const bubble = item.kind === "said" ? saidBubble(record)
    : item.kind === "card" ? cardBubble(seen.cards.get(record.msgId)) : replyBubble(record);
  return make("article", { className: mine ? "mine" : "" }, face(name, item.kind !== "said"),
    make("div", {}, make("div", { className: "who", textContent: name + " · " + time }), bubble, stateLine(item)));
}

// --- the log becomes items -----------------------------------------------------------------------------------
function isHere(record) {
  if (record.robot !== at("robot").value) return false;
  const known = seen.places.get(record.conversation);
  if (!known) return false;
  return place.kind === "group" ? known.group === record.conversation && record.conversation === place.id
    : known.person === at("person").value;
}

async function take(record) {
  if (record.kind === "said") {
    const group = record.body.conversationType === "2";
    seen.places.set(record.conversation, group ? { group: record.conversation } : { person: record.person });
    const ignored = group && record.body.isInAtList === false;
    seen.states.set(record.msgId, { kind: ignored ? "ignored" : "said", attempt: 0 });
    items.push({ kind: "said", record });
  } else if (["pushed", "acked", "undelivered", "gaveUp"].includes(record.kind)) {
    const known = seen.states.get(record.msgId);
    if (known && known.kind !== "acked") Object.assign(known, { kind: record.kind, attempt: record.attempt });
    else if (known) known.attempt = record.attempt;
  } else if (record.kind === "reply") {
    if (record.person && !seen.places.has(record.conversation)) seen.places.set(record.conversation, { person: record.person });
    items.push({ kind: "reply", record });
    // What a group's question has for its asker alone comes here.
    if (place.kind === "group" && record.person === at("person").value && record.robot === at("robot").value) {
      unread = true;
      listPlaces();
    }
  } else if (record.kind === "reaction") {
    const all = seen.reactions.get(record.msgId) || [];
    seen.reactions.set(record.msgId, record.body.emotionName ? [...all, record.text] : all);
  } else if (record.kind === "card" && record.conversation) {
    const first = !seen.cards.has(record.msgId);
    seen.cards.set(record.msgId, await call("/sim/cards/" + encodeURIComponent(record.msgId)));
    if (first) items.push({ kind: "card", record });
  }
}

function paint() {
  const box = at("messages");
  const atEnd = followsEnd || box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  followsEnd = false;
  const here = items.filter((item) => isHere(item.record)).slice(-300);
  const hint = make("p", { className: "hint", textContent: "还没有消息，打个招呼吧。 · Nothing here yet. Say hello." });
  box.replaceChildren(...(here.length ? here.map(article) : [hint]));
  if (atEnd) box.scrollTop = box.scrollHeight;
}

async function follow() {
  for (;;) {
    try {
      const { records, next } = await call(`/sim/log?since=${since}&waitMs=20000`);
      for (const record of records) await take(record);
      since = next;
      if (records.length) paint();
    } catch {
      at("link").textContent = "模拟云已停止 · the simulated cloud is gone";
      at("link").className = "";
      await new Promise((done) => setTimeout(done, 2000));
    }
  }
}

// --- who, where, and what is written --------------------------------------------------------------------------
function problem(error) { at("problem").textContent = error ? String(error.message || error) : ""; }

function setQuote(item) {
  quote = null;
  at("quote").hidden = !item;
  if (!item) return;
  const { record } = item;
  const base = { createdAt: record.atMs, msgId: record.msgId };
  if (item.kind === "said") {
    const content = record.body.msgtype === "text" ? { text: (record.body.text.content || "").trim() } : record.body.content;
    quote = { ...base, senderId: record.body.senderId, msgType: record.body.msgtype, content };
  } else if (item.kind === "card") quote = { ...base, senderId: "robot", msgType: "interactiveCard" };
  else quote = { ...base, senderId: "robot", msgType: "text", content: { text: record.text } };
  at("quote").firstElementChild.textContent = quotedText(quote);
  at("text").focus();
}

async function attachment(file, text) {
  const answer = await fetch("/sim/files?name=" + encodeURIComponent(file.name), { method: "POST", body: file });
  if (!answer.ok) throw new Error("文件太大 · the file is too large");
  const { downloadCode } = await answer.json();
  const kind = file.type.split("/")[0];
  if (kind === "image" && text) {
    return { msgtype: "richText", content: { richText: [{ text }, { type: "picture", downloadCode, pictureDownloadCode: downloadCode }] } };
  }
  if (kind === "image") return { msgtype: "picture", content: { downloadCode, pictureDownloadCode: downloadCode } };
  if (kind === "audio") return { msgtype: "audio", content: { duration: 4000, downloadCode, recognition: text } };
  if (kind === "video") return { msgtype: "video", content: { duration: 4000, videoType: "mp4", downloadCode } };
  return { msgtype: "file", content: { downloadCode, fileName: file.name, fileId: "1", spaceId: "1" } };
}

async function send(event) {
  event.preventDefault();
  const text = at("text").value.trim();
  const file = at("file").files[0];
  if (!text && !file) return;
  const person = at("person");
  const say = { robot: at("robot").value, sender: person.value, nick: person.selectedOptions[0].textContent, text };
  if (place.kind === "group") Object.assign(say, { group: place.id, title: place.title, unmentioned: !at("mention").checked });
  const first = quote ? { ...say, quote } : say;
  try {
    if (file) first.content = await attachment(file, text);
    followsEnd = true;
    await call("/sim/say", first);
    // A file and a video have no room for words: they come behind it, as a person would write them.
    if (text && file && ["file", "video"].includes(first.content.msgtype)) await call("/sim/say", say);
    at("text").value = "";
    at("file").value = "";
    at("attached").textContent = "";
    setQuote(null);
    problem(null);
  } catch (error) { problem(error); }
}

function listPlaces() {
  const all = [DIRECT, ...GROUPS.map(([id, title]) => ({ kind: "group", id, title }))];
  at("conversations").replaceChildren(...all.map((one) => {
    const direct = one.kind === "direct";
    const kind = (direct ? "单聊 · direct chat" : "群聊，可 @机器人 · group") + (direct && unread ? " · 新消息 new" : "");
    const button = make("button", { type: "button", onclick: () => choose(one) }, face(one.title, direct),
      make("span", {}, one.title, make("small", { textContent: kind })));
    button.setAttribute("aria-current", String(one.title === place.title));
    return button;
  }));
}

function choose(next) {
  place = next;
  unread = unread && next.kind === "group";
  at("title").replaceChildren(next.title, make("small", { textContent: next.kind === "group" ? "群聊 · group" : "单聊 · direct" }));
  at("mentionLabel").hidden = next.kind !== "group";
  listPlaces();
  setQuote(null);
  paint();
  at("messages").scrollTop = at("messages").scrollHeight;
}

async function watchRobots() {
  for (;;) {
    try {
      const { apps } = await call("/sim/state");
      const robot = at("robot");
      const names = apps.map((app) => app.clientId);
      if (names.join() !== [...robot.options].map((o) => o.value).join()) {
        const before = robot.value;
        robot.replaceChildren(...apps.map((app) => make("option", { value: app.clientId, textContent: app.robotCode })));
        if (names.includes(before)) robot.value = before;
        at("robotLabel").hidden = names.length < 2;
        paint();
      }
      const app = apps.find((one) => one.clientId === robot.value);
      const on = app && (app.mode === "http" || app.connections.length > 0);
      at("link").className = on ? "on" : "";
      at("link").textContent = !app ? "还没有机器人 · no robot yet"
        : app.mode === "http" ? "HTTP 回调 · HTTP callback"
        : on ? `Stream 已连接 · connected (${app.connections.length})` : "Stream 未连接 · not connected";
    } catch { /* `follow` says so */ }
    await new Promise((done) => setTimeout(done, 1500));
  }
}

at("person").replaceChildren(...PEOPLE.map(([value, textContent]) => make("option", { value, textContent })));
at("person").onchange = paint;
at("robot").onchange = paint;
at("composer").onsubmit = send;
at("quote").lastElementChild.onclick = () => setQuote(null);
at("file").onchange = () => { const file = at("file").files[0]; at("attached").textContent = file ? "📎 " + file.name : ""; };
at("text").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); at("composer").requestSubmit(); }
};
choose(DIRECT);
watchRobots();
follow();
