'use strict';
for (const image of document.querySelectorAll('img[data-same]')) image.src = document.getElementById(image.dataset.same).src;
for (const compare of document.querySelectorAll('.compare')) {
  const slide = compare.querySelector('.slide'), over = slide.querySelector('.over');
  const line = slide.querySelector('i'), range = compare.querySelector('input');
  const place = () => {
    over.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
    line.style.left = range.value + '%';
    range.setAttribute('aria-valuetext', `${range.value} % original`);
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
const every = document.getElementById('every'), images = Array.from(document.querySelectorAll('details'));
if (every) every.addEventListener('click', () => {
  const open = !images.every(image => image.open);
  for (const image of images) image.open = open;
});
