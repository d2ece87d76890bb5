/** Errors whose own English text is for programs: [what happened, what to do], by code. */
export default {
  E_OUT_OF_MEMORY: ["Not enough memory for {what}: it needs {needed}, {available} can be had.",
    "Choose a smaller model or a shorter context, or close other tabs."],
  E_QUOTA: ["This browser's storage is full: {needed} are needed, {available} are free.",
    "Delete a model or free disk space, then try again."],
};
