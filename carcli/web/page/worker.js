// Brings pictures back, away from the page: the page stays quick, and to cancel is to end this worker.
import {open} from './open.js';
import {encodePng} from './png.js';
import {Refused} from './refused.js';
import {restore} from './restore.js';

const RUNTIME = new URL('./onnxruntime/', import.meta.url);
let network;

// What computes, and the model. onnxruntime-web runs on WebGPU where `webgpu` says so, and on WebAssembly otherwise.
async function load(webgpu) {
  const response = await fetch(new URL('./model.json', import.meta.url));
  if (!response.ok) throw new Refused('this page lacks model.json');
  const model = await response.json();
  const ort = await import(new URL(webgpu ? 'ort.webgpu.min.mjs' : 'ort.wasm.min.mjs', RUNTIME)).catch(() => {
    throw new Refused('this page lacks onnxruntime-web: run npm install in its folder');
  });
  ort.env.logLevel = 'error';
  ort.env.wasm.wasmPaths = RUNTIME.href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
  const file = new URL(model.file, import.meta.url).href;
  const session = await ort.InferenceSession.create(file, {executionProviders: webgpu ? ['webgpu', 'wasm'] : ['wasm']});
  const run = async (values, channels, height, width) => {
    const given = new ort.Tensor('float32', values, [1, channels, height, width]);
    const {[session.outputNames[0]]: result} = await session.run({[session.inputNames[0]]: given});
    const out = await result.getData();
    result.dispose();
    return out;
  };
  return {model, run, webgpu};
}

// Whether there is a graphics processor; one that is only imitated is slower than WebAssembly.
async function hasGpu() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

// The restored picture, and on what it was computed. A graphics processor that fails is left alone from then on.
async function computed(image, ignoreTag) {
  network ??= hasGpu().then(gpu => gpu ? load(true).catch(() => load(false)) : load(false));
  const {model, run, webgpu} = await network.catch(error => {
    network = undefined;
    throw error;
  });
  try {
    const tell = (done, total) => self.postMessage({done, total});
    return {...await restore(image, model, run, tell, ignoreTag), checkpoint: model.checkpoint, device: webgpu ? 'WebGPU' : 'WebAssembly'};
  } catch (error) {
    if (!webgpu || error instanceof Refused) throw error;
    network = load(false);
    return computed(image, ignoreTag);
  }
}

self.addEventListener('message', async ({data: {bytes, ignoreTag}}) => {
  try {
    const image = await open(bytes, ignoreTag), restored = await computed(image, ignoreTag);
    const png = await encodePng(restored), {width, height, checkpoint, device} = restored, {tag, notes} = image;
    const lr = {width: image.width, height: image.height};
    self.postMessage({png, width, height, lr, notes, device, checkpoint, tagged: tag !== null}, [png.buffer]);
  } catch (error) {
    const refused = error instanceof Refused;
    self.postMessage({refused: refused ? error.message : `cannot be restored here: ${error.message}`, anyway: refused && error.anyway});
  }
});
