// What is wrong with a build: pure, so that node's test runner can judge it.

/** File names as Debian's policy has them: package_version_architecture.deb */
const PACKAGE = /^[a-z0-9][a-z0-9+.-]+_[A-Za-z0-9.+~-]+_[a-z0-9-]+\.u?deb$/;

export function findings(build, { maxSize, require, forbidVersion }) {
  const found = [];
  for (const { name, size } of build.artifacts) {
    if (/\.u?deb$/.test(name)) {
      if (!PACKAGE.test(name)) {
        found.push({ file: name, what: "is no package's file name" });
      }
      if (size > maxSize) {
        found.push({ file: name, what: `has ${size} bytes, and may have ${maxSize}` });
      }
    }
    if (size === 0) {
      found.push({ file: name, what: "is empty" });
    }
  }
  for (const kind of require) {
    if (!build.artifacts.some(({ name }) => name.endsWith(`.${kind}`))) {
      found.push({ what: `has no .${kind}` });
    }
  }
  for (const text of forbidVersion) {
    if (build.version.includes(text)) {
      found.push({ what: `has ${JSON.stringify(text)} in its version ${build.version}` });
    }
  }
  return found;
}
