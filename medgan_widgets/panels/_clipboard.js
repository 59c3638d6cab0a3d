// Text to the clipboard, shared by the panels.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // plain http from another machine: only the old way is there
    const area = document.body.appendChild(document.createElement('textarea'));
    area.value = text;
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}
