/** @throws Error `PACKAGES_MISSING` when they are missing and cannot be installed */
export function installDebianPackages(names: string[]): void
