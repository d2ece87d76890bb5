/** Texts of tools. */
export default {
  tools: "Outils",
  toolsLead:
    "Ce que le modèle peut appeler. Tout tourne sur cet appareil. Les petits modèles appellent mal " +
    "les outils, ou pas du tout.",
  toolName_calculator: "Calculatrice",
  toolHelp_calculator: "Fait des calculs. Tourne sans demander.",
  toolName_clock: "Horloge",
  toolHelp_clock: "Donne la date et l’heure. Tourne sans demander.",
  toolName_python: "Python",
  toolHelp_python:
    "Exécute un programme pendant 10 secondes au plus, sans réseau, fichiers ni discussions. On vous " +
    "demande d’abord.",
  toolName_search_chats: "Chercher dans mes discussions",
  toolHelp_search_chats:
    "Laisse le modèle lire des extraits de vos autres discussions. On vous demande d’abord.",
  toolAlways: "Autorisé dans cette discussion",
  toolNever: "Refusé dans cette discussion",
  toolForget: "Demander à nouveau",
  toolAsk: "{name} : exécuter ?",
  toolOnce: "Exécuter une fois",
  toolAlwaysRun: "Toujours dans cette discussion",
  toolRefuse: "Refuser",
  toolNeverRun: "Jamais dans cette discussion",
  toolState_asking: "vous attend",
  toolState_running: "en cours",
  toolState_done: "terminé",
  toolState_error: "échoué",
  toolState_refused: "refusé",
  toolState_stopped: "arrêté",
  toolArguments: "Arguments",
  toolResult: "Résultat",
  toolLimit:
    "Le modèle a appelé des outils {count} fois ; il lui a été demandé de répondre sans eux.",
};
