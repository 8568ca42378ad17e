for (const image of document.querySelectorAll('img[data-same]')) image.src = document.getElementById(image.dataset.same).src;
for (const compare of document.querySelectorAll('.compare')) {
  const slide = compare.querySelector('.slide');
  slider(slide, slide.querySelector('.over'), slide.querySelector('i'), compare.querySelector('input'));
}
const every = document.getElementById('every'), images = Array.from(document.querySelectorAll('details'));
if (every) every.addEventListener('click', () => {
  const open = !images.every(image => image.open);
  for (const image of images) image.open = open;
});
