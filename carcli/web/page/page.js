// The page: pictures come in by hand, by field or by ?src=, and each gets an article of its own.
import {fetched, restored} from './restorer.js';

const LEAST = 160; // pixels: what is smaller is shown larger
const results = document.getElementById('results'), drop = document.getElementById('drop'), files = document.getElementById('files');
const form = document.getElementById('address'), url = document.getElementById('url');

for (const name of ['dragover', 'dragleave', 'drop']) drop.addEventListener(name, event => {
  drop.classList.toggle('over', name === 'dragover');
  if (name === 'drop') take(event.dataTransfer.files);
});
for (const name of ['dragover', 'drop']) window.addEventListener(name, event => event.preventDefault()); // beside the field
files.addEventListener('change', () => { take(files.files); files.value = ''; });
form.addEventListener('submit', event => { event.preventDefault(); takeAddress(url.value); });
window.addEventListener('paste', event => take(event.clipboardData.files));

fetch('model.json').then(response => response.json()).then(model => {
  document.getElementById('model').append(' with ', element('code', null, model.checkpoint));
}).catch(() => {});
for (const address of new URLSearchParams(location.search).getAll('src')) takeAddress(address);

function take(list) {
  for (const file of list) begin(file.name, async () => new Uint8Array(await file.arrayBuffer()));
}

function takeAddress(address) {
  let at;
  try {
    at = new URL(address, location.href);
  } catch (error) {
    at = null;
  }
  const name = decoded(at?.protocol === 'data:' ? '' : at?.pathname.split('/').pop() || '') || 'picture';
  begin(name, signal => fetched(at ?? address, signal));
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch (error) {
    return name;
  }
}

function element(kind, parent, text, name) {
  const node = document.createElement(kind);
  if (text) node.textContent = text;
  if (name) node.className = name;
  parent?.append(node);
  return node;
}

function begin(name, read) {
  const article = element('article');
  results.prepend(article);
  element('h2', article, name);
  const state = element('p', article, 'waiting…', 'state');
  state.setAttribute('role', 'status');
  work(article, state, name, read, false);
}

async function work(article, state, name, read, ignoreTag) {
  const row = element('div', article, '', 'working'), bar = element('progress', row), cancel = element('button', row, 'Cancel');
  const controller = new AbortController(), {signal} = controller;
  bar.setAttribute('aria-label', `${name}: how much is restored`);
  cancel.addEventListener('click', () => controller.abort());
  let bytes;
  const tell = (done, total) => {
    state.textContent = total > 1 ? `restoring, ${done} of ${total} tiles…` : 'restoring…';
    if (total > 1 || done) Object.assign(bar, {max: total, value: done});
  };
  try {
    bytes = await read(signal);
    const answer = await restored(bytes, {ignoreTag, tell, signal});
    row.remove();
    await show(article, state, name, bytes, answer);
  } catch (error) {
    row.remove();
    failed(article, state, error, () => work(article, state, name, read, true));
  }
}

function failed(article, state, error, again) {
  const cancelled = error.name === 'AbortError';
  state.textContent = cancelled ? 'cancelled' : error.message;
  state.classList.toggle('wrong', !cancelled);
  if (!error.anyway) return;
  const row = element('div', article, '', 'row'), button = element('button', row, 'Enlarge it as an ordinary picture');
  button.addEventListener('click', () => {
    row.remove();
    state.classList.remove('wrong');
    state.textContent = 'waiting…';
    again();
  });
}

async function show(article, state, name, bytes, answer) {
  const {png, width, height, lr, notes, device, checkpoint, tagged} = answer, file = new Blob([png], {type: 'image/png'});
  state.textContent = `${width}×${height}, ${tagged ? 'restored' : 'enlarged'} by ${checkpoint} from ${lr.width}×${lr.height} in ${kilobytes(bytes.length)}, on ${device}`;
  const said = tagged ? notes : ['has no tag that was read: enlarged as an ordinary picture', ...notes];
  if (said.length) for (const list = element('ul', article, '', 'notes'); said.length;) element('li', list, said.shift());
  const address = URL.createObjectURL(file), compare = await compared(article, address, URL.createObjectURL(new Blob([bytes])), name, answer);
  const row = element('div', article, '', 'row'), save = element('a', row, `Save PNG, ${kilobytes(file.size)}`, 'save');
  save.href = address;
  save.download = `${name.replace(/\.[^.]*$/, '') || 'picture'}-restored.png`;
  const actual = element('button', row, 'Actual size');
  actual.hidden = compare.querySelector('img').getBoundingClientRect().width >= width;
  actual.addEventListener('click', () => { actual.textContent = compare.classList.toggle('actual') ? 'Fit the page' : 'Actual size'; });
}

const kilobytes = bytes => bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

async function compared(article, restored, small, name, {width, height}) {
  const compare = element('div', article, '', 'compare'), slide = element('div', element('div', compare, '', 'scroll'), '', 'slide');
  const under = picture(slide, restored, `${name}, restored`), over = picture(slide, small, `${name}, small`);
  const times = Math.max(1, Math.floor(LEAST / Math.max(width, height)));
  Object.assign(under, {width: width * times, height: height * times});
  slide.classList.toggle('magnified', times > 1);
  over.className = 'over';
  await under.decode();
  try {
    await over.decode();
  } catch (error) { // this browser shows no such file
    over.remove();
    return compare;
  }
  const line = element('i', slide), range = element('input', compare), sides = element('div', compare, '', 'sides');
  Object.assign(range, {type: 'range', value: 50});
  range.setAttribute('aria-label', `${name}: the small picture to the left, restored to the right`);
  element('span', sides, 'the small file, enlarged');
  element('span', sides, 'restored');
  slider(slide, over, line, range, 'small file');
  return compare;
}

function picture(parent, address, text) {
  const image = element('img', parent);
  image.alt = text;
  image.src = address;
  return image;
}
