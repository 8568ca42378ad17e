// Brings pictures back, away from the page: the page stays quick, and to cancel is to end this worker.
import {open} from './open.js';
import {encodePng} from './png.js';
import {Refused} from './refused.js';
import {restore} from './restore.js';

const RUNTIME = new URL('./onnxruntime/', import.meta.url);
let network;

// onnxruntime-web on WebGPU where there is a processor for it, and on WebAssembly otherwise.
async function load() {
  const response = await fetch(new URL('./model.json', import.meta.url));
  if (!response.ok) throw new Refused('this page lacks model.json');
  const model = await response.json();
  const webgpu = Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
  const ort = await import(new URL(webgpu ? 'ort.webgpu.min.mjs' : 'ort.wasm.min.mjs', RUNTIME)).catch(() => {
    throw new Refused('this page lacks onnxruntime-web: run npm install in its folder');
  });
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
  return {model, run, device: webgpu ? 'WebGPU' : 'WebAssembly'};
}

self.addEventListener('message', async ({data: {bytes, ignoreTag}}) => {
  try {
    const image = await open(bytes, ignoreTag);
    network ??= load();
    network.catch(() => { network = undefined; });
    const {model, run, device} = await network;
    const tell = (done, total) => self.postMessage({done, total});
    const restored = await restore(image, model, run, tell, ignoreTag);
    const png = await encodePng(restored);
    const {width, height} = restored, {tag, notes} = image, lr = {width: image.width, height: image.height};
    self.postMessage({png, width, height, lr, notes, device, checkpoint: model.checkpoint, tagged: tag !== null}, [png.buffer]);
  } catch (error) {
    const refused = error instanceof Refused;
    self.postMessage({refused: refused ? error.message : `cannot be restored here: ${error.message}`, anyway: refused && error.anyway});
  }
});
