// Pictures to a worker and back, one after another; shared by the page and by <carcli-image>.
import {Refused} from './refused.js';

let worker, turn = Promise.resolve();

// A file's bytes → what the worker says of the restored one. `tell` hears (tiles done, of how many).
// Throws `Refused`, and an AbortError once `signal` says so.
export function restored(bytes, {ignoreTag = false, tell = () => {}, signal} = {}) {
  const mine = turn.then(() => inTurn(bytes, ignoreTag, tell, signal));
  turn = mine.catch(() => {});
  return mine;
}

function inTurn(bytes, ignoreTag, tell, signal) {
  return new Promise((resolve, reject) => {
    const stop = error => { // what is being computed ends with its worker
      worker?.terminate();
      worker = undefined;
      finish(reject, error);
    };
    const cancel = () => stop(signal.reason);
    const finish = (settle, value) => {
      signal?.removeEventListener('abort', cancel);
      settle(value);
    };
    if (signal?.aborted) {
      finish(reject, signal.reason);
      return;
    }
    signal?.addEventListener('abort', cancel);
    worker ??= new Worker(new URL('./worker.js', import.meta.url), {type: 'module'});
    worker.onerror = event => stop(new Refused(`cannot be restored here: ${event.message || 'its worker does not start'}`));
    worker.onmessage = ({data}) => {
      if (data.png) finish(resolve, data);
      else if (data.refused) finish(reject, new Refused(data.refused, data.anyway));
      else tell(data.done, data.total);
    };
    worker.postMessage({bytes, ignoreTag});
  });
}

// The bytes behind an address. Throws `Refused` in words.
export async function fetched(address, signal) {
  let response;
  try {
    response = await fetch(address, {signal});
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused('cannot be fetched: there is nothing, or its server does not let this page have it (CORS)');
  }
  if (!response.ok) throw new Refused(`cannot be fetched: its server answers ${response.status} ${response.statusText}`.trim());
  return new Uint8Array(await response.arrayBuffer());
}
