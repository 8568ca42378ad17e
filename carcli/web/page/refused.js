// What cannot be done, in one line for whoever gave the picture. `anyway`: whether ignoring its tag would do.
export class Refused extends Error {
  constructor(message, anyway = false) {
    super(message);
    this.anyway = anyway;
  }
}

export const MEGAPIXELS = 100; // of a restored picture, at most: a browser's memory is small
