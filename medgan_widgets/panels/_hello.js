// Once the kernel has answered, JupyterLab hands it a widget's clicks while a cell runs; see _panel.py.
const hello = (model) => { try { model.send({ kind: 'hello' }); } catch { /* a saved view */ } };
