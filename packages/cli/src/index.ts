/**
 * The composition root: puts store, identity, control and gateway together as `sallyport`, and the
 * connector as `sallyport-connector`. What is exported here starts them from other programs, such as tests.
 */
export { AccessLog } from './access-log.ts'
export { Child, type Launcher, startChild } from './child.ts'
export { parseServiceConfig, type ServiceConfig } from './config.ts'
export {
  changeConnectorSettings,
  connectorOnline,
  controlOf,
  type Execute,
  enrollConnectorProcess,
  spawnConnector,
  startServiceProcess,
  writeAllowList,
} from './demo-processes.ts'
export { nodeFlags } from './node-flags.ts'
export { type Service, startService } from './service.ts'
