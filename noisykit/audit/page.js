const pick = document.getElementById('pick');
const cards = [...document.querySelectorAll('#suspects .card')];
const show = () => {
  let shown = 0;
  for (const card of cards) {
    card.hidden = pick.value !== '' && card.dataset.label !== pick.value;
    shown += !card.hidden;
  }
  document.getElementById('shown').textContent = shown + ' shown';
};
pick.addEventListener('change', show);
show();
