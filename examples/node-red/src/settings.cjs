// Node-RED's own settings file: everything stays on this machine, and nothing is asked of others.
module.exports = {
  uiHost: '127.0.0.1',
  flowFile: 'flows.json',
  // The lines that tell that it is ready are read by us.
  lang: 'en-US',
  // No telemetry, and no asking whether there is a newer version.
  telemetry: { enabled: false, updateNotification: false },
  // Palette and function nodes install nothing.
  externalModules: {
    autoInstall: false,
    palette: { allowInstall: false, allowUpload: false, allowUpdate: false },
    modules: { allowInstall: false },
  },
  functionExternalModules: false,
  editorTheme: {
    palette: { catalogues: [] },
    projects: { enabled: false },
    tours: false,
  },
  diagnostics: { enabled: false, ui: false },
  logging: { console: { level: 'info', metrics: false, audit: false } },
}
