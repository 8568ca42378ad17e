// Run by `npm install`: what the page needs of onnxruntime-web, beside it; node_modules need not be published.
import {cpSync, mkdirSync} from 'node:fs';

const FROM = 'node_modules/onnxruntime-web/dist', TO = 'onnxruntime';
mkdirSync(TO, {recursive: true});
for (const name of ['ort.webgpu.min', 'ort.wasm.min', 'ort-wasm-simd-threaded.asyncify', 'ort-wasm-simd-threaded']) {
  cpSync(`${FROM}/${name}.mjs`, `${TO}/${name}.mjs`);
  if (name.startsWith('ort-')) cpSync(`${FROM}/${name}.wasm`, `${TO}/${name}.wasm`);
}
