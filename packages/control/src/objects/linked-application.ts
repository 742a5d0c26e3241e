import { type LinkedApplication, linkedApplicationSchema } from '@sallyport/domain'
import { displayText } from '../commands/references.ts'

const { shape } = linkedApplicationSchema

/** Fields of a linked application in a file, but for its kind and its assignments. */
export const linkedApplicationFields = {
  name: shape.name,
  displayName: displayText.optional().describe('What people see: the tile. Default: the name.'),
  linkedUrl: shape.linkedUrl,
  appRoleAssignmentRequired: shape.assignmentRequired,
  visible: shape.visible,
}

/** A linked application as files write it, with every default filled in. */
export interface LinkedApplicationObject {
  name: string
  displayName?: string | undefined
  linkedUrl: string
  appRoleAssignmentRequired: boolean
  visible: boolean
}

/** @param object checked before */
export function toLinkedApplication(
  object: LinkedApplicationObject,
): Omit<LinkedApplication, 'id'> {
  const { name, displayName = name, linkedUrl, appRoleAssignmentRequired, visible } = object
  return { name, displayName, linkedUrl, assignmentRequired: appRoleAssignmentRequired, visible }
}

/** Every setting of a linked application, as files write it. */
export function toLinkedApplicationObject(application: LinkedApplication): LinkedApplicationObject {
  const { name, displayName, linkedUrl, assignmentRequired, visible } = application
  return { name, displayName, linkedUrl, appRoleAssignmentRequired: assignmentRequired, visible }
}

/** Without what a reader of the file would add by himself. */
export function withoutLinkDefaults(object: LinkedApplicationObject): Record<string, unknown> {
  const { name, displayName, linkedUrl, appRoleAssignmentRequired, visible } = object
  return {
    name,
    ...(displayName === name ? {} : { displayName }),
    linkedUrl,
    ...(appRoleAssignmentRequired ? {} : { appRoleAssignmentRequired }),
    ...(visible ? {} : { visible }),
  }
}
