'use strict';
// A slider below two pictures that lie on each other: moves the edge of the upper one, `over`, and the line on that edge.
// `slide` holds the pictures, and follows a mouse or a finger; `range` is the input; `what` says what `over` is.
function slider(slide, over, line, range, what = 'original') {
  const place = () => {
    over.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
    line.style.left = range.value + '%';
    range.setAttribute('aria-valuetext', `${range.value} % ${what}`);
  };
  const follow = event => {
    const box = slide.getBoundingClientRect();
    range.value = 100 * (event.clientX - box.left) / box.width;
    place();
  };
  range.addEventListener('input', place);
  slide.addEventListener('pointerdown', event => { slide.setPointerCapture(event.pointerId); follow(event); });
  slide.addEventListener('pointermove', event => { if (event.buttons) follow(event); });
  slide.addEventListener('dragstart', event => event.preventDefault());
  place();
}
