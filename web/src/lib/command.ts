/** What a copied command needs so that it means this project; nothing for the one that is meant anyway. */
export function inProject(project: string): string {
  return project === "default" ? "" : ` --project ${project}`;
}
