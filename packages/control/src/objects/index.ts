/**
 * Objects: what administrators declare in files. Their schemas, without the store and the service, for
 * whoever reads or writes such files.
 */
export { checkObjects } from './check.ts'
export type { FieldChange, ObjectChange } from './plan.ts'
export {
  nameFields,
  type ObjectKind,
  objectKinds,
  objectSchemas,
  toObjectJsonSchema,
} from './schema.ts'
