// <carcli-image><img src="small.png" width="1600" height="1200" alt="…"></carcli-image>: the small picture at once, and the restored
// one in its place when it is looked at closely: shown larger than its own pixels for a while, pointed at, focused or clicked.
import {fetched, restored} from './restorer.js';

const WHILE = 400; // milliseconds in view before anything is computed
const SEEN = 0.25; // the share of it that is in view

class CarcliImage extends HTMLElement {
  #observer;
  #timer;
  #controller;
  #inView = false;

  constructor() {
    super();
    for (const name of ['click', 'pointerenter', 'focusin']) this.addEventListener(name, () => this.#closer(name));
    this.addEventListener('load', () => this.#seen(this.#inView), {capture: true}); // of a small picture that comes late
  }

  connectedCallback() {
    this.#observer = new IntersectionObserver(entries => this.#seen(entries.at(-1).isIntersecting), {threshold: SEEN});
    if (this.when === 'look' && this.state === 'small' && !navigator.connection?.saveData) this.#observer.observe(this);
  }

  disconnectedCallback() {
    this.#observer.disconnect();
    clearTimeout(this.#timer);
    this.#controller?.abort();
  }

  // look: in view, and larger than its own pixels; hover: pointed at, focused or clicked; click: clicked
  get when() { return this.getAttribute('when') ?? 'look'; }
  get image() { return this.querySelector('img'); }
  get state() { return this.getAttribute('state') ?? 'small'; } // small, restoring, restored, refused

  // Restores it now. Resolves once the restored picture is shown, or it is refused: the small one stays.
  async restore() {
    if (this.state !== 'small' || !this.image) return;
    this.#controller = new AbortController();
    const {signal} = this.#controller;
    this.setAttribute('state', 'restoring');
    try {
      const bytes = await fetched(this.image.currentSrc || this.image.src, signal);
      const {png, width, height} = await restored(bytes, {signal});
      const address = URL.createObjectURL(new Blob([png], {type: 'image/png'})), {image} = this;
      image.removeAttribute('srcset');
      image.src = address;
      await image.decode();
      URL.revokeObjectURL(address);
      this.#ended('restored', {width, height});
    } catch (error) {
      if (signal.aborted) this.removeAttribute('state');
      else this.#ended('refused', {message: error.message});
    }
  }

  #ended(state, detail) {
    this.setAttribute('state', state);
    this.#observer.disconnect();
    this.dispatchEvent(new CustomEvent(state, {detail, bubbles: true}));
  }

  #seen(inView) {
    this.#inView = inView;
    clearTimeout(this.#timer);
    if (inView) this.#timer = setTimeout(() => this.#enlarged() && this.restore(), WHILE);
  }

  #closer(name) {
    if (name === 'click' || (this.when !== 'click' && this.#enlarged())) this.restore();
  }

  // Whether it covers more of the screen's pixels than it has.
  #enlarged() {
    const {image} = this;
    return Boolean(image?.naturalWidth) && image.getBoundingClientRect().width * devicePixelRatio > image.naturalWidth;
  }
}

customElements.define('carcli-image', CarcliImage);
